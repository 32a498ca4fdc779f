"""What confd says of itself, in a file that any command on the node may read.

A generation is a digest of one family's three files: ``wanted`` is what the datastore asks for, ``written`` what
lies in the configuration directory, ``running`` what BIRD has confirmed. All three are equal when all is well.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

PATH = Path("/var/run/calico/confd.json")


class FamilyStatus(msgspec.Struct, omit_defaults=True):
    """``address``: the node's own, which sessions start from. ``refused``: BIRD's words against what is wanted. ``pending``: why BIRD does not run what is written yet."""

    wanted: str = ""
    written: str = ""
    running: str = ""
    refused: str = ""
    pending: str = ""
    reloads: int = 0
    address: str = ""


class ConfdStatus(msgspec.Struct, omit_defaults=True):
    """``problems``: what was left out of the configuration and why. Times are seconds since 1970."""

    node: str = ""
    in_sync: bool = False
    changed_s: float = 0.0
    renders: int = 0
    render_ms: float = 0.0
    failure: str = ""
    problems: list[str] = msgspec.field(default_factory=list)
    families: dict[int, FamilyStatus] = msgspec.field(
        default_factory=lambda: {4: FamilyStatus(), 6: FamilyStatus()}
    )


def read(path: Path = PATH) -> ConfdStatus:
    """Raises OSError, and ValueError for a file that is none of confd's."""
    return msgspec.json.decode(path.read_bytes(), type=ConfdStatus)


def write(status: ConfdStatus, path: Path = PATH) -> None:
    """As a whole or not at all. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    staged = path.with_name(f".{path.name}.new")
    try:
        staged.write_bytes(msgspec.json.format(msgspec.json.encode(status)))
        staged.replace(path)
    finally:
        staged.unlink(missing_ok=True)


def lines(status: ConfdStatus) -> list[str]:
    """For people: one fact a line, what is wrong first."""
    said = []
    if status.failure:
        said.append(f"confd: {status.failure}")
    for number, family in status.families.items():
        if family.refused:
            said.append(
                f"IPv{number}: BIRD refuses the new configuration, the old one stays: {family.refused}"
            )
        if family.pending:
            said.append(f"IPv{number}: BIRD does not run the written configuration yet: {family.pending}")
    return [*said, *status.problems]


def metrics(status: ConfdStatus) -> str:
    """In the Prometheus text format."""
    rows: list[tuple[str, str, str, dict[str, float]]] = [
        ("confd_in_sync", "gauge", "Whether the datastore has been heard completely", {"": status.in_sync}),
        ("confd_renders_total", "counter", "Times that the configuration was computed", {"": status.renders}),
        ("confd_render_milliseconds", "gauge", "Time of the last computation", {"": status.render_ms}),
        ("confd_problems", "gauge", "Objects or fields left out", {"": len(status.problems)}),
        ("confd_failing", "gauge", "Whether the last pass failed", {"": bool(status.failure)}),
    ]
    labels = {f'{{family="IPv{number}"}}': family for number, family in status.families.items()}
    reloads = {label: float(family.reloads) for label, family in labels.items()}
    refused = {label: float(bool(family.refused)) for label, family in labels.items()}
    pending = {label: float(bool(family.pending)) for label, family in labels.items()}
    rows += [
        ("confd_reloads_total", "counter", "Reloads that BIRD has confirmed", reloads),
        ("confd_config_refused", "gauge", "Whether BIRD refuses the wanted configuration", refused),
        ("confd_reload_pending", "gauge", "Whether BIRD has yet to take what is written", pending),
    ]
    text = []
    for name, kind, help_text, values in rows:
        text += [f"# HELP {name} {help_text}.", f"# TYPE {name} {kind}"]
        text += [f"{name}{label} {float(value):g}" for label, value in values.items()]
    return "\n".join(text) + "\n"
