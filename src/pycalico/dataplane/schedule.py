"""When each target is read again."""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import Any

from pycalico.dataplane.config import DataplaneConfig
from pycalico.dataplane.drivers.iptables import Table
from pycalico.reconcile.reconciler import Reconciler

_JITTER = 0.1
_POST_WRITE_MOST_S = 3600.0


def _jittered(interval_s: float) -> float:
    return interval_s * (1 + random.random() * _JITTER)  # noqa: S311 - spreads load, hides nothing


class Every:
    """Asks reconcilers for a full read every ``interval_s`` (0: never), lengthened by up to a tenth."""

    def __init__(
        self, interval_s: float, reconcilers: Iterable[Reconciler[Any, Any, Any]], now_s: float
    ) -> None:
        self._interval_s = interval_s
        self._reconcilers = list(reconcilers)
        self.due_s = now_s + _jittered(interval_s) if interval_s > 0 else float("inf")

    def tick(self, now_s: float) -> None:
        if now_s >= self.due_s:
            self.due_s = now_s + _jittered(self._interval_s)
            for reconciler in self._reconcilers:
                reconciler.resync()


class PostWriteCheck:
    """Reads a table again some time after it was written: others write iptables too, and not always atomically.

    The wait doubles from ``first_s`` with each check, up to an hour, and is never shorter than twice what
    reading and writing takes.
    """

    def __init__(self, reconciler: Reconciler[Any, Any, Any], first_s: float) -> None:
        self._reconciler = reconciler
        self._table: Table = reconciler.target  # type: ignore[assignment]
        self._first_s = first_s
        self._written_s: float | None = None
        self._wait_s = first_s
        self.due_s = float("inf")

    def tick(self, now_s: float) -> None:
        written_s = self._table.last_write_s
        if written_s is not None and written_s != self._written_s:
            self._written_s = written_s
            self._wait_s = self._first_s
            self.due_s = written_s + self._at_least(self._wait_s)
        elif now_s >= self.due_s:
            self._reconciler.resync()
            self._wait_s = min(self._wait_s * 2, _POST_WRITE_MOST_S)
            self.due_s = now_s + self._at_least(self._wait_s)

    def _at_least(self, wait_s: float) -> float:
        if self._first_s <= 0:
            return float("inf")
        return max(wait_s, 2 * (self._table.slowest_save_s + self._table.slowest_restore_s), 0.05)


def make(
    config: DataplaneConfig, now_s: float, **targets: Iterable[Reconciler[Any, Any, Any]]
) -> list[Every | PostWriteCheck]:
    """``targets``: tables, sets, routes and links."""
    rows: list[Every | PostWriteCheck] = [
        Every(config.iptables_refresh_s, targets["tables"], now_s),
        Every(config.ipsets_refresh_s, targets["sets"], now_s),
        Every(config.route_refresh_s, targets["routes"], now_s),
        Every(config.interface_refresh_s, targets["links"], now_s),
    ]
    return rows + [PostWriteCheck(table, config.iptables_post_write_check_s) for table in targets["tables"]]
