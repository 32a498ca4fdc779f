"""The bounded queue between feeds and their consumer: per key, only the newest state waits."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable

from pycalico.api.meta import Key
from pycalico.syncer.update import SyncStatus, Update


class Merger:
    """Thread-safe. Feeds put, one consumer takes."""

    def __init__(self, feeds: int, notify: Callable[[], None] | None = None) -> None:
        self._changed = threading.Condition()
        self._waiting: dict[Key, Update] = {}
        self._told: set[Key] = set()
        self._unlisted = feeds
        self._answered = False
        self._woken = False
        self._taken_status = SyncStatus.WAIT_FOR_DATASTORE
        self._notify = notify

    def put(self, updates: Iterable[Update]) -> None:
        with self._changed:
            for update in updates:
                # Re-inserted at the end, so that the order is that of the newest states.
                self._waiting.pop(update.key, None)
                # What came and went before the consumer heard of it never was.
                if update.value is not None or update.key in self._told:
                    self._waiting[update.key] = update
            self._answered = True
            self._changed.notify()
        self._tell()

    def listed(self) -> None:
        """One feed has put all that existed when it started."""
        with self._changed:
            self._unlisted -= 1
            self._answered = True
            self._changed.notify()
        self._tell()

    def wake(self) -> None:
        with self._changed:
            self._woken = True
            self._changed.notify()
        self._tell()

    def take(self, timeout_s: float | None) -> tuple[list[Update], SyncStatus]:
        with self._changed:
            self._changed.wait_for(self._has_news, timeout_s)
            updates = list(self._waiting.values())
            self._waiting.clear()
            for update in updates:
                if update.value is None:
                    self._told.discard(update.key)
                else:
                    self._told.add(update.key)
            self._woken = False
            self._taken_status = self._current()
            return updates, self._taken_status

    @property
    def status(self) -> SyncStatus:
        """As of the last take."""
        return self._taken_status

    def _has_news(self) -> bool:
        return bool(self._waiting) or self._woken or self._current() is not self._taken_status

    def _current(self) -> SyncStatus:
        if self._unlisted <= 0:
            return SyncStatus.IN_SYNC
        return SyncStatus.RESYNC if self._answered else SyncStatus.WAIT_FOR_DATASTORE

    def _tell(self) -> None:
        if self._notify is not None:
            self._notify()
