"""Wishes of several owners about the same keys, settled before the kernel sees them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Generic

from pycalico.reconcile.target import K, V


class Desired(Generic[K, V]):
    """The owner whose name sorts first wins; owners put their rank first in their name.

    ``want`` and ``unwant`` are told of each change of the winner.
    """

    def __init__(self, want: Callable[[K, V], None], unwant: Callable[[K], None]) -> None:
        self._want = want
        self._unwant = unwant
        self._claims: dict[K, dict[str, V]] = {}
        self._by_owner: dict[str, set[K]] = {}
        self._winner: dict[K, str] = {}

    def put(self, owner: str, key: K, value: V) -> None:
        claims = self._claims.setdefault(key, {})
        if claims.get(owner) == value:
            return
        claims[owner] = value
        self._by_owner.setdefault(owner, set()).add(key)
        self._settle(key, changed=owner)

    def remove(self, owner: str, key: K) -> None:
        claims = self._claims.get(key, {})
        if claims.pop(owner, None) is None:
            return
        self._by_owner[owner].discard(key)
        if not self._by_owner[owner]:
            del self._by_owner[owner]
        self._settle(key, changed=owner)

    def replace(self, owner: str, values: Mapping[K, V]) -> None:
        """All that ``owner`` wishes from now on."""
        for key in self._by_owner.get(owner, set()) - values.keys():
            self.remove(owner, key)
        for key, value in values.items():
            self.put(owner, key, value)

    def _settle(self, key: K, changed: str) -> None:
        claims = self._claims[key]
        if not claims:
            del self._claims[key]
            self._winner.pop(key, None)
            self._unwant(key)
            return
        winner = min(claims)
        if winner != self._winner.get(key) or winner == changed:
            self._winner[key] = winner
            self._want(key, claims[winner])
