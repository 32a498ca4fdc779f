"""One feed per kind of Kubernetes object, however many controllers want to hear of it.

The objects themselves are shared: each controller keeps what it needs of them by reference.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from pycalico.api.meta import Resource
from pycalico.syncer.feeds import Feed, Source, WatchSpec
from pycalico.syncer.merge import Merger
from pycalico.syncer.syncer import Batch
from pycalico.syncer.update import SyncStatus, Update


class Subscription:
    """One controller's queue: per key the newest state only. Takes like a Syncer."""

    def __init__(self, kinds: int, notify: Callable[[], None] | None) -> None:
        self.merger = Merger(kinds, notify)

    def take(self, timeout_s: float | None = None) -> Batch:
        updates, status = self.merger.take(timeout_s)
        return Batch(updates, status)

    @property
    def in_sync(self) -> bool:
        return self.merger.status is SyncStatus.IN_SYNC

    def wake(self) -> None:
        self.merger.wake()


class Informers:
    """Subscribe first, then ``start``; the feeds of the kinds that somebody wants run until ``stop``."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._fans: dict[type[Resource], _Fan] = {}
        self._feeds: list[Feed] = []

    def subscribe(
        self, kinds: Sequence[type[Resource]], notify: Callable[[], None] | None = None
    ) -> Subscription:
        subscription = Subscription(len(kinds), notify)
        for kind in kinds:
            self._fans.setdefault(kind, _Fan()).mergers.append(subscription.merger)
        return subscription

    def start(self) -> None:
        self._feeds = [Feed(self._source, WatchSpec(kind), fan) for kind, fan in self._fans.items()]
        for feed in self._feeds:
            feed.start()

    def stop(self) -> None:
        for feed in self._feeds:
            feed.stop()


class _Fan:
    """Hands what a feed says to every subscriber."""

    def __init__(self) -> None:
        self.mergers: list[Merger] = []

    def put(self, updates: Iterable[Update]) -> None:
        told = list(updates)
        for merger in self.mergers:
            merger.put(told)

    def listed(self) -> None:
        for merger in self.mergers:
            merger.listed()
