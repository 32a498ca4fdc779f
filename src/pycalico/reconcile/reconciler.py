"""Keeps a target equal to wishes: diff, apply, retry each failed key with backoff, resync, status."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Set as AbstractSet
from typing import Generic

import msgspec

from pycalico.reconcile.delta import Delta
from pycalico.reconcile.target import H, K, Target, TargetError, V


class KeyFailure(msgspec.Struct):
    """Why a key is not as wished. Times in seconds of the clock that the caller uses."""

    reason: str
    since_s: float
    tries: int
    due_s: float


def _doubling(tries: int) -> float:
    """Seconds to wait after so many failures: 0.1 s doubling to 10 s."""
    return float(min(0.1 * 2 ** (tries - 1), 10.0))


class Reconciler(Generic[K, V, H]):
    """Pure but for the target: the time is given to it.

    ``resync()`` asks for a full read at the next `run`; the first `run` always reads. A target that others write
    too, and whose writes depend on what is there, is read before each write: ``reads_first``.
    """

    def __init__(
        self,
        label: str,
        target: Target[K, V, H],
        wait_s: Callable[[int], float] = _doubling,
        *,
        reads_first: bool = False,
    ) -> None:
        self.label = label
        self.target = target
        self.delta: Delta[K, V, H] = Delta(target.same)
        self.failures: dict[K, KeyFailure] = {}
        self.error: KeyFailure | None = None
        self._wait_s = wait_s
        self._reads_first = reads_first
        self._must_read = True

    def want(self, key: K, value: V) -> None:
        self.delta.want(key, value)
        self._forgive(key)

    def unwant(self, key: K) -> None:
        self.delta.unwant(key)
        self._forgive(key)

    def confirm(self, key: K, value: H | None) -> None:
        """Somebody reported what is there now."""
        self.delta.confirm(key, value)
        self._forgive(key)

    def resync(self) -> None:
        self._must_read = True

    def _forgive(self, key: K) -> None:
        failure = self.failures.get(key)
        if failure:
            failure.due_s = 0.0

    @property
    def in_sync(self) -> bool:
        """All wishes are met, but for those in ``failures``, which are tried again later."""
        return not (self._must_read or self.error or self.delta.dirty - self.failures.keys())

    def due_s(self) -> float | None:
        """When work is due: 0 for now, None for never, else the time of the next retry."""
        if self.error:
            return self.error.due_s
        if self._must_read or self.delta.dirty - self.failures.keys():
            return 0.0
        return min((failure.due_s for failure in self.failures.values()), default=None)

    def run(self, now_s: float, *, puts: bool = True, deletes: bool = True) -> bool:
        """Brings the target nearer to the wishes; True when anything was written. Never raises TargetError."""
        if self.error and self.error.due_s > now_s:
            return False
        try:
            if self._must_read or (self._reads_first and (self.delta.dirty - self._waiting(now_s))):
                self.delta.replace_actual(self.target.read())
                self._must_read = False
                self.failures = {key: f for key, f in self.failures.items() if key in self.delta.dirty}
            changed = self._write(now_s, puts, deletes)
        except TargetError as error:
            self._must_read = True
            self.error = self._failed(self.error, str(error), now_s)
            return False
        self.error = None
        return changed

    def _write(self, now_s: float, puts: bool, deletes: bool) -> bool:
        wanted_puts, wanted_deletes = self.delta.pending(self.delta.dirty - self._waiting(now_s))
        to_put = wanted_puts if puts else {}
        to_delete: AbstractSet[K] = wanted_deletes if deletes else set()
        for key in list(self.failures):
            if key not in self.delta.dirty:
                del self.failures[key]
        if not to_put and not to_delete:
            return False
        outcome = self.target.apply(to_put, to_delete)
        for key in (*to_put, *to_delete):
            if key in outcome.failures:
                self.failures[key] = self._failed(self.failures.get(key), outcome.failures[key], now_s)
                self.delta.dirty.add(key)
            else:
                self.failures.pop(key, None)
                self.delta.confirm(key, outcome.now.get(key))
        return True

    def _waiting(self, now_s: float) -> set[K]:
        return {key for key, failure in self.failures.items() if failure.due_s > now_s}

    def _failed(self, before: KeyFailure | None, reason: str, now_s: float) -> KeyFailure:
        tries = before.tries + 1 if before else 1
        return KeyFailure(reason, before.since_s if before else now_s, tries, now_s + self._wait_s(tries))
