"""Chains offered to one table, of which only those that are reached from a kernel chain are programmed."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from typing import Protocol

import msgspec

from pycalico.dataplane.rules.chain import Chain, hash_ids, targets

OUR_CHAIN = re.compile(r"^@?(cali-|califw-|calitw-|califh-|calith-|calipi-|calipo-|felix-)")


class OwnChain(msgspec.Struct, frozen=True):
    """A chain that is ours: ``ids`` are the rules' hashes."""

    rules: tuple[str, ...]
    ids: tuple[str, ...]


class KernelChain(msgspec.Struct, frozen=True):
    """Our rules in a kernel chain: before (or, in append mode, behind) others' rules, and always last."""

    inserted: OwnChain
    appended: OwnChain


Content = OwnChain | KernelChain


class Wishes(Protocol):
    def want(self, key: str, value: Content) -> None: ...

    def unwant(self, key: str) -> None: ...


def own_chain(chain: Chain) -> OwnChain:
    return OwnChain(chain.rules, hash_ids(chain.name, chain.rules))


class Chains:
    """Counts references; a chain that is referred to but was never offered is programmed empty, which lets no
    packet through that nothing else accepts.
    """

    def __init__(self, wishes: Wishes) -> None:
        self._wishes = wishes
        self._offered: dict[str, tuple[str, ...]] = {}
        self._references: Counter[str] = Counter()

    def hang(self, kernel_chain: str, inserted: tuple[str, ...], appended: tuple[str, ...] = ()) -> None:
        """Our rules in a kernel chain; once per chain."""
        self._want_hook(kernel_chain, inserted, appended)
        for name in _ours((*inserted, *appended)):
            self._refer(name)

    def update(self, chains: Iterable[Chain]) -> None:
        for chain in chains:
            before = self._offered.get(chain.name)
            if before == chain.rules:
                continue
            self._offered[chain.name] = chain.rules
            if self._references[chain.name]:
                self._program(chain.name, before or ())

    def remove(self, names: Iterable[str]) -> None:
        for name in names:
            before = self._offered.pop(name, None)
            if before is not None and self._references[name]:
                self._program(name, before)

    def _program(self, name: str, before: tuple[str, ...]) -> None:
        rules = self._offered.get(name, ())
        for target in _ours(rules):
            self._refer(target)
        self._want(Chain(name, rules))
        for target in _ours(before):
            self._release(target)

    def _want_hook(self, kernel_chain: str, inserted: tuple[str, ...], appended: tuple[str, ...]) -> None:
        # Upstream hashes appended rules under this name, so that they differ from inserted ones.
        behind = own_chain(Chain(f"{kernel_chain}*appends*", appended))
        self._wishes.want(kernel_chain, KernelChain(own_chain(Chain(kernel_chain, inserted)), behind))

    def _want(self, chain: Chain) -> None:
        self._wishes.want(chain.name, own_chain(chain))

    def _unwant(self, name: str) -> None:
        self._wishes.unwant(name)

    def _refer(self, name: str) -> None:
        self._references[name] += 1
        if self._references[name] == 1:
            self._program(name, ())

    def _release(self, name: str) -> None:
        self._references[name] -= 1
        if self._references[name] == 0:
            del self._references[name]
            self._unwant(name)
            for target in _ours(self._offered.get(name, ())):
                self._release(target)


def _ours(rules: Iterable[str]) -> list[str]:
    return [name for name in targets(rules) if OUR_CHAIN.match(name)]
