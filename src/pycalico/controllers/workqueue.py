"""Keys that wait to be worked off: each once, however often it is asked for, and never by two workers at a time."""

from __future__ import annotations

import heapq
import threading
import time
from collections.abc import Callable, Hashable, Iterable
from typing import Generic, TypeVar

from pycalico.base.backoff import Backoff

K = TypeVar("K", bound=Hashable)

_FIRST_DELAY_S, _MOST_DELAY_S = 0.005, 30.0


class WorkQueue(Generic[K]):
    """Thread-safe. A key that is asked for while it is worked on comes again afterwards, so what is done last saw
    the newest state. A failed key waits twice as long each time, up to 30 s, and is never dropped.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._changed = threading.Condition()
        self._ready: dict[K, None] = {}
        self._working: set[K] = set()
        self._again: set[K] = set()
        self._later: list[tuple[float, int, K]] = []
        self._due: dict[K, float] = {}
        self._backoffs: dict[K, Backoff] = {}
        self._count = 0
        self._closed = False

    def add(self, keys: Iterable[K]) -> None:
        with self._changed:
            for key in keys:
                # News end a wait after a failure: what was wrong may be right now.
                self._due.pop(key, None)
                self._put(key)
            self._changed.notify_all()

    def take(self, most: int) -> list[K]:
        """Waits for keys and takes up to ``most``, oldest first; empty once closed. Each must be given to ``done``."""
        with self._changed:
            while True:
                self._ripen()
                if self._closed:
                    return []
                if self._ready:
                    break
                wait_s = max(0.0, self._later[0][0] - self._clock()) if self._later else None
                self._changed.wait(wait_s)
            taken: list[K] = []
            while self._ready and len(taken) < most:
                key = next(iter(self._ready))
                del self._ready[key]
                taken.append(key)
            self._working.update(taken)
            return taken

    def done(self, key: K, *, good: bool) -> None:
        with self._changed:
            self._working.discard(key)
            if good:
                self._backoffs.pop(key, None)
            if key in self._again:
                self._again.discard(key)
                self._put(key)
                self._changed.notify_all()
            elif not good:
                backoff = self._backoffs.setdefault(key, Backoff(_FIRST_DELAY_S, _MOST_DELAY_S))
                due_s = self._clock() + backoff.next_delay_s()
                self._count += 1
                self._due[key] = due_s
                heapq.heappush(self._later, (due_s, self._count, key))
                self._changed.notify_all()

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def __len__(self) -> int:
        """Keys that wait or are being worked on."""
        with self._changed:
            return len(self._ready) + len(self._working) + len(self._due)

    def _put(self, key: K) -> None:
        if key in self._working:
            self._again.add(key)
        else:
            self._ready[key] = None

    def _ripen(self) -> None:
        now_s = self._clock()
        while self._later and self._later[0][0] <= now_s:
            due_s, _, key = heapq.heappop(self._later)
            if self._due.get(key) == due_s:
                del self._due[key]
                self._put(key)
