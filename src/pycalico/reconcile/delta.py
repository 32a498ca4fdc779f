"""The difference between what is wished and what is there, kept up to date key by key."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Generic

from pycalico.reconcile.target import H, K, V


class Delta(Generic[K, V, H]):
    """Work is proportional to what changed: only keys marked dirty are compared."""

    def __init__(self, same: Callable[[V, H], bool]) -> None:
        self._same = same
        self.wanted: dict[K, V] = {}
        self.actual: dict[K, H] = {}
        self.dirty: set[K] = set()

    def want(self, key: K, value: V) -> None:
        self.wanted[key] = value
        self.dirty.add(key)

    def unwant(self, key: K) -> None:
        if self.wanted.pop(key, None) is not None or key in self.actual:
            self.dirty.add(key)

    def replace_actual(self, actual: Mapping[K, H]) -> None:
        """After a full read: every key is looked at once."""
        self.actual = dict(actual)
        self.dirty = {key for key in self.wanted.keys() | self.actual.keys() if self.differs(key)}

    def confirm(self, key: K, value: H | None) -> None:
        """``value`` is what is there now; None: nothing."""
        if value is None:
            self.actual.pop(key, None)
        else:
            self.actual[key] = value
        if self.differs(key):
            self.dirty.add(key)
        else:
            self.dirty.discard(key)

    def differs(self, key: K) -> bool:
        if key not in self.wanted:
            return key in self.actual
        return key not in self.actual or not self._same(self.wanted[key], self.actual[key])

    def pending(self, keys: Iterable[K] | None = None) -> tuple[dict[K, V], set[K]]:
        """The puts and deletes that dirty keys (or ``keys``) ask for; keys found equal are dirty no more."""
        puts: dict[K, V] = {}
        deletes: set[K] = set()
        for key in list(self.dirty if keys is None else keys):
            if not self.differs(key):
                self.dirty.discard(key)
            elif key in self.wanted:
                puts[key] = self.wanted[key]
            else:
                deletes.add(key)
        return puts, deletes
