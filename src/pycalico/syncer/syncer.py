"""The syncer: several watches in, one stream of coalesced updates out."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

import msgspec

from pycalico.syncer.feeds import Feed, Source, WatchSpec
from pycalico.syncer.merge import Merger
from pycalico.syncer.pulse import Pulse
from pycalico.syncer.update import SyncStatus, Update

#: Watches of a cluster where nothing happens are silent for minutes.
_SILENCE_S = 30.0

__all__ = ["Batch", "Syncer", "WatchSpec"]


class Batch(msgspec.Struct):
    """What has changed since the last ``take``. The status is that after ``updates`` have been applied."""

    updates: list[Update]
    status: SyncStatus


class Syncer:
    """Feeds one consumer.

    Per key only the newest state waits, so memory is bounded by the number of keys however slow the consumer
    is. IN_SYNC comes once, after everything that existed at the start. ``notify`` is called (from a feed's
    thread, possibly often) when something waits; it must be quick. A datastore that says nothing for ``silence_s`` is
    asked whether it lives.
    """

    def __init__(
        self,
        client: Source,
        watches: Sequence[WatchSpec],
        notify: Callable[[], None] | None = None,
        silence_s: float = _SILENCE_S,
    ) -> None:
        self._merger = Merger(len(watches), notify)
        self._feeds = [Feed(client, watch, self._merger) for watch in watches]
        self._pulse = Pulse(client.ping, lambda: max(self.last_event_s().values()), silence_s)
        self._stopping = threading.Event()

    def start(self) -> None:
        for feed in self._feeds:
            feed.start()
        threading.Thread(target=self._pulse.run, args=(self._stopping,), name="pulse", daemon=True).start()

    def take(self, timeout_s: float | None = None) -> Batch:
        """Waits up to ``timeout_s`` (None: until something comes or ``stop``) and takes all that waits."""
        updates, status = self._merger.take(timeout_s)
        return Batch(updates, status)

    def stop(self) -> None:
        """Ends the feeds and wakes a waiting ``take``. Threads end on their own."""
        self._stopping.set()
        for feed in self._feeds:
            feed.stop()
        self._merger.wake()

    @property
    def status(self) -> SyncStatus:
        return self._merger.status

    @property
    def in_sync(self) -> bool:
        return self._merger.status is SyncStatus.IN_SYNC

    def cut_off_s(self) -> float:
        """How long the datastore has not answered some feed, in seconds; 0 while it answers all."""
        since = [feed.cut_off_at_s for feed in self._feeds]
        now = time.monotonic()
        return max((now - each for each in since if each is not None), default=self._pulse.silent_s())

    def last_event_s(self) -> dict[str, float]:
        """Per kind, the monotonic time at which the datastore last said anything (for health and metrics)."""
        return {feed.watch.kind.__name__: feed.last_event_s for feed in self._feeds}
