"""Keeps Calico's copies of one kind true to Kubernetes, in etcd: what changed at once, everything once a period.

Every write is a compare-and-swap on what was just read, so that two writers cannot both do the same, and one that
acts on old knowledge does nothing.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Sequence
from typing import Generic

from pycalico.api.meta import R
from pycalico.base.backoff import Backoff
from pycalico.controllers.copies import Copying, Target
from pycalico.controllers.informers import Informers
from pycalico.controllers.runconfig import MirrorConfig
from pycalico.controllers.workqueue import WorkQueue
from pycalico.datastore.errors import DatastoreError, Unavailable
from pycalico.datastore.etcd.bulk import MOST, Bulk, Swap
from pycalico.datastore.etcd.client import EtcdClient

log = logging.getLogger(__name__)

_TURN_S = 600.0


class Mirror(Generic[R]):
    """``may_write`` is asked before every write: False while another replica leads."""

    def __init__(
        self,
        name: str,
        copying: Copying[R],
        client: EtcdClient,
        informers: Informers,
        config: MirrorConfig,
        may_write: Callable[[], bool] = lambda: True,
    ) -> None:
        self._name = name
        self._copying = copying
        self._bulk: Bulk[R] = Bulk(client, copying.target)
        self._config = config
        self._may_write = may_write
        self._news = threading.Event()
        self._told = informers.subscribe([copying.source], self._news.set)
        self._queue: WorkQueue[Target] = WorkQueue()
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._backoff = Backoff(1.0, 30.0)
        self._comparing = self._synced = False

    def start(self) -> None:
        threading.Thread(target=self._follow, daemon=True, name=f"{self._name}-intake").start()
        for number in range(self._config.workers):
            threading.Thread(target=self._work, daemon=True, name=f"{self._name}-{number}").start()

    def stop(self) -> None:
        self._stopping.set()
        self._queue.close()
        self._news.set()

    # ---- what should be written ----

    def _follow(self) -> None:
        compare_s: float | None = None
        while not self._stopping.is_set():
            self._news.clear()
            try:
                self._take()
                if self._told.in_sync and (compare_s is None or compare_s <= time.monotonic()):
                    began_s = time.monotonic()
                    compare_s = began_s + self._compare()
            except Exception:
                # A defect met in one object must not end the mirror in silence.
                log.exception("%s controller: going on after a defect", self._name)
                compare_s = time.monotonic() + self._backoff.next_delay_s()
            wait_s = _TURN_S if compare_s is None else compare_s - time.monotonic()
            self._news.wait(min(max(0.0, wait_s), _TURN_S))

    def _take(self) -> None:
        with self._lock:
            changed = [self._copying.take(update) for update in self._told.take(0).updates]
        # What comes before the first comparison is found by it.
        if self._comparing:
            self._queue.add(key for key in changed if key is not None)

    def _compare(self) -> float:
        """Queues whatever is not as it should be; returns how long until the next time."""
        seen: set[Target] = set()
        wrong: list[Target] = []
        self._comparing = True
        try:
            for found in self._bulk.scan():
                if self._news.is_set():
                    # A change shall not wait until thousands of others have been looked at.
                    self._news.clear()
                    self._take()
                if found.broken:
                    log.warning("%s controller: %s", self._name, found.broken)
                with self._lock:
                    if self._copying.look(found) is not None:
                        wrong.append((found.namespace, found.name))
                seen.add((found.namespace, found.name))
        except DatastoreError as error:
            delay_s = self._backoff.next_delay_s()
            log.warning("%s controller: cannot compare: %s; again in %.0f s", self._name, error, delay_s)
            return delay_s
        self._backoff.reset()
        with self._lock:
            wrong += self._copying.missing(seen)
        self._queue.add(wrong)
        level = logging.WARNING if wrong and self._synced else logging.INFO
        log.log(level, "%s controller: compared %d, to be written %d", self._name, len(seen), len(wrong))
        self._synced = True
        return self._config.reconciler_period_s or math.inf

    # ---- writing it ----

    def _work(self) -> None:
        while True:
            keys = self._queue.take(MOST)
            if not keys:
                return
            good: set[Target] = set()
            try:
                good = self._settle(keys)
            except DatastoreError as error:
                log.warning("%s controller: %s; trying again", self._name, error)
            except Exception:
                log.exception("%s controller: %d keys failed; trying again", self._name, len(keys))
            for key in keys:
                self._queue.done(key, good=key in good)

    def _settle(self, keys: Sequence[Target]) -> set[Target]:
        """Those of ``keys`` that are as they should be now."""
        found = self._bulk.read(keys)
        with self._lock:
            looked = [self._copying.look(each) for each in found]
        writes = [write for write in looked if write is not None]
        if not writes:
            return set(keys)
        if not self._may_write():
            raise Unavailable("not known to lead any more, nothing is written")
        if len(keys) > 1:
            try:
                if self._bulk.swap(writes):
                    self._tell(writes)
                    return set(keys)
            except Unavailable:
                raise
            except DatastoreError as error:
                log.info("%s controller: %s; one by one", self._name, error)
            # One of them changed meanwhile, or is refused: the others shall not wait for it.
            return {key for key in keys if self._settle_one(key)}
        if not self._bulk.swap(writes):
            log.info("%s controller: %s changed meanwhile, looking again", self._name, _shown(keys[0]))
            return set()
        self._tell(writes)
        return set(keys)

    def _settle_one(self, key: Target) -> bool:
        try:
            return bool(self._settle([key]))
        except Unavailable:
            raise
        except DatastoreError as error:
            log.warning("%s controller: %s: %s; trying again", self._name, _shown(key), error)
            return False

    def _tell(self, writes: list[Swap[R]]) -> None:
        if not log.isEnabledFor(logging.INFO):
            return
        for write in writes:
            done = "Deleted" if write.resource is None else "Updated" if write.found.resource else "Created"
            key = _shown((write.found.namespace, write.found.name))
            log.info("%s %s", done, self._copying.target.__name__, extra={"fields": {"key": key}})


def _shown(target: Target) -> str:
    return "/".join(part for part in target if part)
