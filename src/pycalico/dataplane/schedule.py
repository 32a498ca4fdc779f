"""When each target is read again."""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import Any, Protocol

from pycalico.dataplane.config import DataplaneConfig
from pycalico.dataplane.drivers.iptables import Table
from pycalico.dataplane.drivers.nft.generation import Generation
from pycalico.dataplane.drivers.nft.table import NftTable
from pycalico.reconcile.reconciler import Reconciler

_JITTER = 0.1
_POST_WRITE_MOST_S = 3600.0
_VERIFY_S = 0.25
_WATCH_S = 1.0
_READ_SHARE = 20


class Timer(Protocol):
    due_s: float

    def tick(self, now_s: float) -> None: ...


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
    """Reads a table again after it was written: others write iptables too, and not always atomically.

    A quarter of a second after a write (reading first would make each change wait, and what a stale view broke
    is mended then), after ``first_s``, and then after twice the wait each time, up to an hour; never sooner
    than twice what reading and writing takes.
    """

    def __init__(self, reconciler: Reconciler[Any, Any, Any], first_s: float) -> None:
        self._reconciler = reconciler
        self._table: Table = reconciler.target  # type: ignore[assignment]
        self._first_s = first_s
        self._written_s: float | None = None
        self._wait_s = 0.0
        self.due_s = float("inf")

    def tick(self, now_s: float) -> None:
        written_s = self._table.last_write_s
        if written_s is not None and written_s != self._written_s:
            self._written_s = written_s
            # Endless changes must not put the check off for ever.
            first_due_s = written_s + self._at_least(_VERIFY_S)
            self.due_s = min(self.due_s, first_due_s) if self._wait_s == 0 else first_due_s
            self._wait_s = 0.0
        elif now_s >= self.due_s:
            self._reconciler.resync()
            self._wait_s = min(self._wait_s * 2 or self._first_s, _POST_WRITE_MOST_S)
            self.due_s = now_s + self._at_least(self._wait_s)

    def _at_least(self, wait_s: float) -> float:
        if self._first_s <= 0:
            return float("inf")
        return max(wait_s, 2 * (self._table.slowest_save_s + self._table.slowest_restore_s))


class GenerationWatch:
    """Reads nftables' tables again when somebody else made a transaction, ours or not: the kernel only counts them.

    Asked every ``_WATCH_S``; reading takes at most a twentieth of the time where others change theirs all the time.
    """

    def __init__(
        self, generation: Generation, natives: Iterable[Reconciler[Any, Any, Any]], now_s: float
    ) -> None:
        self._generation = generation
        self._natives = list(natives)
        self._changed = False
        self._next_read_s = now_s
        self.due_s = now_s + _WATCH_S if self._natives else float("inf")

    def tick(self, now_s: float) -> None:
        if now_s < self.due_s:
            return
        self.due_s = now_s + _WATCH_S
        self._changed |= self._generation.changed()
        if self._changed and now_s >= self._next_read_s:
            self._changed = False
            tables: list[NftTable] = [item.target for item in self._natives]  # type: ignore[misc]
            self._next_read_s = now_s + _READ_SHARE * sum(table.read_s for table in tables)
            for item in self._natives:
                item.resync()


def make(
    config: DataplaneConfig,
    now_s: float,
    generation: Generation,
    **targets: Iterable[Reconciler[Any, Any, Any]],
) -> list[Timer]:
    """``targets``: tables, sets, natives, routes and links."""
    rows: list[Timer] = [
        GenerationWatch(generation, targets["natives"], now_s),
        Every(config.nftables_refresh_s, targets["natives"], now_s),
        Every(config.iptables_refresh_s, targets["tables"], now_s),
        Every(config.ipsets_refresh_s, targets["sets"], now_s),
        Every(config.route_refresh_s, targets["routes"], now_s),
        Every(config.interface_refresh_s, targets["links"], now_s),
    ]
    return rows + [PostWriteCheck(table, config.iptables_post_write_check_s) for table in targets["tables"]]
