"""Collects what changed and hands it out in an order that is safe to apply, each key at most once."""

from __future__ import annotations

from collections.abc import Hashable, Iterator

from pycalico.calc import messages
from pycalico.calc.messages import IPSetType, Message


class Sequencer:
    """Remembers what the dataplane was told, so that nothing is said twice and only what was said is removed."""

    #: Updates in this order; what refers to something comes after it. Removals run through it backwards.
    _ORDER = (
        "ready",
        "config",
        "encapsulation",
        "set",
        "policy",
        "profile",
        "pool",
        "host",
        "vtep",
        "wireguard",
        "route",
        "services",
        "host_endpoint",
        "workload",
    )

    def __init__(self) -> None:
        self._told: dict[tuple[str, Hashable], Message] = {}
        self._puts: dict[str, dict[Hashable, Message]] = {kind: {} for kind in self._ORDER}
        self._removals: dict[str, dict[Hashable, Message]] = {kind: {} for kind in self._ORDER}
        self._sets = _SetChanges()

    def put(self, kind: str, key: Hashable, message: Message) -> None:
        self._removals[kind].pop(key, None)
        if self._told.get((kind, key)) == message:
            self._puts[kind].pop(key, None)
        else:
            self._puts[kind][key] = message

    def remove(self, kind: str, key: Hashable, message: Message) -> None:
        self._puts[kind].pop(key, None)
        if (kind, key) in self._told:
            self._removals[kind][key] = message

    def add_set(self, set_id: str, set_type: IPSetType) -> None:
        self._sets.add(set_id, set_type)

    def remove_set(self, set_id: str) -> None:
        self._sets.remove(set_id)

    def add_member(self, set_id: str, member: str) -> None:
        self._sets.add_member(set_id, member)

    def remove_member(self, set_id: str, member: str) -> None:
        self._sets.remove_member(set_id, member)

    def flush(self) -> Iterator[Message]:
        """All that waits; afterwards nothing does."""
        for kind in self._ORDER:
            if kind == "set":
                yield from self._sets.flush_puts()
                continue
            waiting = self._puts[kind]
            for key, message in waiting.items():
                self._told[kind, key] = message
                yield message
            waiting.clear()
        for kind in reversed(self._ORDER):
            if kind == "set":
                yield from self._sets.flush_removals()
                continue
            gone = self._removals[kind]
            for key, message in gone.items():
                self._told.pop((kind, key), None)
                yield message
            gone.clear()


class _SetChanges:
    """IP sets: whole at first, then as differences."""

    def __init__(self) -> None:
        self._told: set[str] = set()
        self._new: dict[str, tuple[IPSetType, set[str]]] = {}
        self._changed: dict[str, tuple[set[str], set[str]]] = {}
        self._gone: dict[str, None] = {}

    def add(self, set_id: str, set_type: IPSetType) -> None:
        # A set that goes and comes back within one flush is told anew, as a whole.
        self._gone.pop(set_id, None)
        self._changed.pop(set_id, None)
        self._new[set_id] = (set_type, set())

    def remove(self, set_id: str) -> None:
        self._new.pop(set_id, None)
        self._changed.pop(set_id, None)
        if set_id in self._told:
            self._gone[set_id] = None

    def add_member(self, set_id: str, member: str) -> None:
        if set_id in self._new:
            self._new[set_id][1].add(member)
            return
        added, removed = self._changed.setdefault(set_id, (set(), set()))
        if member in removed:
            removed.discard(member)
        else:
            added.add(member)

    def remove_member(self, set_id: str, member: str) -> None:
        if set_id in self._new:
            self._new[set_id][1].discard(member)
            return
        added, removed = self._changed.setdefault(set_id, (set(), set()))
        if member in added:
            added.discard(member)
        else:
            removed.add(member)

    def flush_puts(self) -> Iterator[Message]:
        for set_id, (set_type, members) in self._new.items():
            self._told.add(set_id)
            yield messages.IPSetUpdate(set_id, set_type, frozenset(members))
        self._new.clear()
        for set_id, (added, removed) in self._changed.items():
            if added or removed:
                yield messages.IPSetDelta(set_id, frozenset(added), frozenset(removed))
        self._changed.clear()

    def flush_removals(self) -> Iterator[Message]:
        for set_id in self._gone:
            self._told.discard(set_id)
            yield messages.IPSetRemove(set_id)
        self._gone.clear()
