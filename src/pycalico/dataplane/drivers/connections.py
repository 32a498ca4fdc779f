"""The kernel's open connections: lists them and cuts single ones, by the program ``conntrack``."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from pycalico.kernel import command
from pycalico.kernel.command import CommandError

_TIMEOUT_S = 60.0


class Connection(msgspec.Struct, frozen=True):
    """As the first packet had it; ``end`` and ``end_port`` are the destination after any translation.

    ``protocol`` is a number; ``ports`` are None where it has none; ``icmp`` is type, code and identifier.
    """

    family: int
    protocol: int
    src: str
    dst: str
    ports: tuple[int, int] | None
    icmp: tuple[int, int, int] | None
    end: str
    end_port: int


def listing(family: int) -> Iterator[Connection]:
    """Raises CommandError."""
    done = command.run(["conntrack", "--family", f"ipv{family}", "--dump"], timeout_s=_TIMEOUT_S)
    if done.code:
        raise CommandError(f"conntrack cannot list: {command.last_line(done.err)}")
    for line in done.out.splitlines():
        found = parse(family, line)
        if found:
            yield found


def parse(family: int, line: str) -> Connection | None:
    """None for a line that is no connection, or of a zone of its own: those are somebody else's."""
    words = line.split()
    if len(words) < 2 or not words[1].isdigit():
        return None
    there: dict[str, str] = {}
    back: dict[str, str] = {}
    for word in words[2:]:
        key, equals, value = word.partition("=")
        if not equals:
            continue
        if key.startswith("zone"):
            return None
        (back if key in there else there)[key] = value
    if not {"src", "dst"} <= there.keys() or "src" not in back:
        return None
    ports = (int(there["sport"]), int(there["dport"])) if "sport" in there and "dport" in there else None
    icmp = (int(there["type"]), int(there["code"]), int(there["id"])) if "type" in there else None
    end_port = int(back.get("sport", 0))
    return Connection(family, int(words[1]), there["src"], there["dst"], ports, icmp, back["src"], end_port)


def cut(connection: Connection) -> str:
    """The next packet is judged anew. Returns why it did not work; one that is gone already is fine."""
    argv = ["conntrack", "--family", f"ipv{connection.family}", "--delete"]
    argv += ["--proto", str(connection.protocol)]
    argv += ["--orig-src", connection.src, "--orig-dst", connection.dst]
    if connection.ports:
        argv += ["--sport", str(connection.ports[0]), "--dport", str(connection.ports[1])]
    if connection.icmp:
        names = ("type", "code", "id")
        prefix = "icmp" if connection.family == 4 else "icmpv6"
        for name, value in zip(names, connection.icmp, strict=True):
            argv += [f"--{prefix}-{name}", str(value)]
    try:
        done = command.run(argv, timeout_s=_TIMEOUT_S)
    except CommandError as error:
        return str(error)
    return command.last_line(done.err) if done.code and "0 flow entries" not in done.err else ""
