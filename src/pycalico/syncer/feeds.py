"""One kind's feed: list, watch, and again after every kind of failure. A thread each."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Iterable
from typing import Any, Protocol

import msgspec

from pycalico.api.meta import R, Resource, ResourceList
from pycalico.base.backoff import Backoff
from pycalico.datastore.client import EventType, Watch
from pycalico.datastore.errors import DatastoreError, NotFound, NotSupported, RevisionExpired, Unavailable
from pycalico.syncer.cache import Cache
from pycalico.syncer.update import Update

log = logging.getLogger(__name__)
_chance = random.Random()  # noqa: S311 (spreads load)

#: Between two lists at least this long and up to a quarter more, whatever happens: many nodes relist at once.
_BETWEEN_LISTS_S = 1.0
_FIRST_DELAY_S = 1.0
#: Short, so that a server that comes back is found within five seconds.
_MOST_DELAY_S = 2.0
#: A kind that the datastore cannot watch (its CRD is missing, say) is listed this often.
_POLL_S = 5.0
#: A watch that ends sooner than this counts as a failure, so that a server that closes at once is not hammered.
_SHORT_WATCH_S = 1.0


class Source(Protocol):
    """What a feed needs of a datastore; every Client has it."""

    def list(
        self, kind: type[R], namespace: str = "", *, name_prefix: str = "", cached: bool = False
    ) -> ResourceList[R]: ...

    def watch(
        self, kind: type[R], namespace: str = "", *, revision: str = "", name: str = ""
    ) -> Watch[R]: ...

    def ping(self, timeout_s: float) -> None: ...


class Sink(Protocol):
    """Where a feed puts what it hears. A Merger is one."""

    def put(self, updates: Iterable[Update]) -> None: ...

    def listed(self) -> None:
        """All that existed when the feed started has been put."""


class WatchSpec(msgspec.Struct, frozen=True):
    """What to watch: a kind, in one namespace or all, one name or all."""

    kind: type[Resource]
    namespace: str = ""
    name: str = ""


class Feed:
    """Keeps the consumer's picture of one kind equal to the datastore's."""

    def __init__(self, client: Source, watch: WatchSpec, merger: Sink) -> None:
        self.watch = watch
        self.last_event_s = time.monotonic()
        #: Since when nothing has been answered; None while a list or watch is.
        self.cut_off_at_s: float | None = None
        self._client = client
        self._merger = merger
        self._cache = Cache()
        self._listed = False
        self._stopping = threading.Event()
        self._running: Watch[Any] | None = None
        self._lock = threading.Lock()
        self._backoff = Backoff(_FIRST_DELAY_S, _MOST_DELAY_S)

    def start(self) -> None:
        threading.Thread(target=self._run, daemon=True, name=f"feed-{self.watch.kind.__name__}").start()

    def stop(self) -> None:
        self._stopping.set()
        with self._lock:
            if self._running is not None:
                self._running.close()

    def _run(self) -> None:
        revision = ""
        listed_at = -2 * _BETWEEN_LISTS_S
        while not self._stopping.is_set():
            try:
                if not revision:
                    pause_s = _BETWEEN_LISTS_S * (1 + _chance.random() / 4)
                    self._stopping.wait(max(0.0, listed_at + pause_s - time.monotonic()))
                    listed_at = time.monotonic()
                    revision = self._list()
                began = time.monotonic()
                revision = self._follow(revision)
                self._cut_off()
                if time.monotonic() - began < _SHORT_WATCH_S:
                    self._stopping.wait(self._backoff.next_delay_s() / 4)
            except RevisionExpired:
                revision = ""
            except (NotSupported, NotFound):
                # The kind may come later: an empty list is its present state.
                self._tell([])
                self._stopping.wait(_POLL_S)
                revision = ""
            except DatastoreError as error:
                self._cut_off()
                delay_s = self._backoff.next_delay_s()
                log.warning("%s: %s; trying again in %.1f s", self.watch.kind.__name__, error, delay_s)
                self._stopping.wait(delay_s)
                # A broken connection has lost nothing that the revision does not bring back.
                revision = revision if isinstance(error, Unavailable) else ""
            except Exception:
                # A defect in one feed must not silence it for ever: say so, and start over from a list.
                log.exception("%s: the feed failed; listing again", self.watch.kind.__name__)
                self._stopping.wait(self._backoff.next_delay_s())
                revision = ""

    def _cut_off(self) -> None:
        if self.cut_off_at_s is None:
            self.cut_off_at_s = time.monotonic()

    def _list(self) -> str:
        found = self._client.list(
            self.watch.kind, self.watch.namespace, name_prefix=self.watch.name, cached=True
        )
        wanted = (
            item for item in found.items if not self.watch.name or item.metadata.name == self.watch.name
        )
        self._tell(list(wanted))
        self._backoff.reset()
        return found.revision

    def _tell(self, items: list[Resource]) -> None:
        self.last_event_s = time.monotonic()
        self.cut_off_at_s = None
        updates = list(self._cache.replace(items))
        if updates:
            self._merger.put(updates)
        if not self._listed:
            self._listed = True
            self._merger.listed()

    def _follow(self, revision: str) -> str:
        """Passes events on until the watch ends; returns the revision to go on from."""
        watch = self._client.watch(
            self.watch.kind, self.watch.namespace, revision=revision, name=self.watch.name
        )
        self.cut_off_at_s = None
        with self._lock:
            self._running = watch
        try:
            if self._stopping.is_set():
                return revision
            for event in watch:
                self.last_event_s = time.monotonic()
                self._backoff.reset()
                revision = event.revision or revision
                if event.object is None:
                    continue
                if event.type is EventType.DELETED:
                    updates = list(self._cache.remove(event.object.key))
                else:
                    updates = list(self._cache.put(event.object))
                if updates:
                    self._merger.put(updates)
        except Unavailable as error:
            if not self._stopping.is_set():
                log.info("%s: %s; watching again from %s", self.watch.kind.__name__, error, revision)
                self._stopping.wait(self._backoff.next_delay_s())
        finally:
            with self._lock:
                self._running = None
            watch.close()
        return revision
