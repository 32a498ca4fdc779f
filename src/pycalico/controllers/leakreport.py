"""What garbage collection suspects: each address with the reason, since when, and when it will be freed.

Written beside the status file after every look, for ``check-status --leaks``.
"""

from __future__ import annotations

import logging
import time
from pathlib import Path

import msgspec

from pycalico.controllers import collector, statusfile
from pycalico.controllers.ipamview import Allocation, IPAMView

log = logging.getLogger(__name__)

#: A look this long after the grace period's end finds it over whatever the clock's grain.
_RIPE_S = 0.01


class Leak(msgspec.Struct, rename="camel"):
    """One address. ``since`` and ``freed`` are RFC 3339 in UTC; ``freed`` empty when it is not going to be, as
    ``kept`` says.
    """

    address: str
    handle: str
    node: str
    pod: str
    block: str
    pool: str
    why: str
    since: str = ""
    freed: str = ""
    kept: str = ""


class Report(msgspec.Struct, rename="camel"):
    written: str
    leaks: list[Leak]


def build(
    view: IPAMView, suspected: list[Allocation], now_s: float, grace_s: float | None, *, dry_run: bool
) -> list[Leak]:
    """``now_s`` by the clock of the allocations' times."""
    wall_s = time.time()
    return [
        _leak(view, each, now_s - wall_s, grace_s, dry_run=dry_run)
        for each in sorted(suspected, key=lambda each: (each.address.version, each.address))
    ]


def _leak(view: IPAMView, found: Allocation, ahead_s: float, grace_s: float | None, *, dry_run: bool) -> Leak:
    block = view.blocks.get(found.block)
    since_s = found.leaked_since_s
    freed, kept = "", found.kept
    if kept:
        pass
    elif found.confirmed:
        freed = _time(time.time())
    elif not grace_s or grace_s < 0:
        kept = "leakGracePeriod is 0"
    elif since_s is not None:
        freed = _time(since_s + grace_s - ahead_s)
        kept = collector.DRY_RUN if dry_run else ""
    return Leak(
        address=str(found.address),
        handle=found.handle,
        node=found.node,
        pod="/".join(found.pod or ()),
        block=str(block.network) if block else "",
        pool=view.pool_of(block) if block else "",
        why=found.why,
        since="" if since_s is None else _time(since_s - ahead_s),
        freed=freed,
        kept=kept,
    )


def next_ripe_s(suspected: list[Allocation], grace_s: float | None) -> float | None:
    """When the next candidate's grace period ends."""
    if not grace_s or grace_s < 0:
        return None
    waiting = (
        each.leaked_since_s for each in suspected if each.is_candidate and each.leaked_since_s is not None
    )
    first_s = min(waiting, default=None)
    return None if first_s is None else first_s + grace_s + _RIPE_S


def file_beside(status_file: str) -> str:
    return str(Path(status_file).with_name("leaks.json"))


def read(path: str) -> Report:
    """Raises OSError or msgspec.DecodeError."""
    return msgspec.json.decode(Path(path).read_bytes(), type=Report)


class LeakFile:
    """Written whole, and only when something differs."""

    def __init__(self, status_file: str) -> None:
        self._path = Path(file_beside(status_file))
        self._last: list[Leak] | None = None

    def write(self, leaks: list[Leak]) -> None:
        if leaks == self._last:
            return
        try:
            statusfile.write_whole(self._path, msgspec.json.encode(Report(_time(time.time()), leaks)))
        except OSError as error:
            log.warning("Failed to write %s: %s", self._path, error.strerror or error)
            return
        self._last = leaks


def table(report: Report) -> str:
    if not report.leaks:
        return f"No address is thought leaked (as of {report.written}).\n"
    rows = [("ADDRESS", "NODE", "WHY", "SINCE", "FREED")]
    for leak in report.leaks:
        when = " ".join(part for part in (leak.freed, f"not: {leak.kept}" if leak.kept else "") if part)
        rows.append((leak.address, leak.node, leak.why, leak.since or "-", when))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([*lines, f"{len(report.leaks)} addresses, as of {report.written}."]) + "\n"


def _time(wall_s: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(wall_s))
