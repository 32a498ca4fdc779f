"""IP sets as sets of nf_tables: what changed is noted member by member."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from pycalico.dataplane.drivers.nft.compiler import ip_set_name
from pycalico.dataplane.drivers.nft.members import NativeSet
from pycalico.dataplane.drivers.nft.objects import SET
from pycalico.dataplane.managers.plane import members_of_family
from pycalico.dataplane.rules.context import RuleContext
from pycalico.reconcile.reconciler import Reconciler

#: Of all sets that rules' peers are in.
_UNION_TYPE = "hash:net"


class Union:
    """``counts``: in how many of the sets each member is."""

    def __init__(self) -> None:
        self.set_ids: set[str] = set()
        self.counts: Counter[str] = Counter()


class NativeSetWishes:
    """Work for a change is that of the change, however many members there are."""

    def __init__(self, context: RuleContext, reconciler: Reconciler[str, Any, Any]) -> None:
        self._context = context
        self._reconciler = reconciler
        self._sets: dict[str, NativeSet] = {}
        self._unions: dict[str, Union] = {}
        self._unions_of: dict[str, set[str]] = {}

    def replace(self, set_id: str, set_type: str, members: Iterable[str]) -> None:
        wanted = members_of_family(self._context, members)
        held = self._sets.get(set_id)
        if held is None or held.type != set_type:
            self._move(set_id, wanted, held.members if held else set())
            self._sets[set_id] = NativeSet(self._context.set_name(set_id), set_type, wanted)
        else:
            self._move(set_id, wanted - held.members, held.members - wanted)
            self._toggle(held, held.members ^ wanted)
        self._want(set_id)

    def change(self, set_id: str, added: Iterable[str], removed: Iterable[str]) -> None:
        held = self._sets.get(set_id)
        if held is None:
            return
        going = members_of_family(self._context, removed) & held.members
        wanted = members_of_family(self._context, added)
        coming = (wanted - held.members) | (wanted & going)
        self._move(set_id, coming, going)
        self._toggle(held, going)
        self._toggle(held, coming)
        self._want(set_id)

    @staticmethod
    def _toggle(held: NativeSet, members: set[str]) -> None:
        """What comes and goes again before the kernel was told differs from nothing."""
        held.members ^= members
        if held.touched is not None:
            held.touched ^= members

    def remove(self, set_id: str) -> None:
        held = self._sets.pop(set_id, None)
        if held is not None:
            self._move(set_id, set(), held.members)
            self._reconciler.unwant(self._key(set_id))

    # ---- unions

    def unite(self, union_id: str, set_ids: Iterable[str]) -> None:
        """From now on; the sets may come later."""
        union = self._unions.get(union_id)
        if union is None:
            union = self._unions[union_id] = Union()
            self._sets[union_id] = NativeSet(self._context.set_name(union_id), _UNION_TYPE, set())
        wanted = set(set_ids)
        for set_id in wanted - union.set_ids:
            self._unions_of.setdefault(set_id, set()).add(union_id)
            self._count(union_id, self._members_of(set_id), set())
        for set_id in union.set_ids - wanted:
            self._leave(set_id, union_id)
        union.set_ids = wanted
        self._want(union_id)

    def disband(self, union_id: str) -> None:
        union = self._unions.pop(union_id, None)
        if union is not None:
            for set_id in union.set_ids:
                self._unlink(set_id, union_id)
            self.remove(union_id)

    def _leave(self, set_id: str, union_id: str) -> None:
        self._unlink(set_id, union_id)
        self._count(union_id, set(), self._members_of(set_id))

    def _unlink(self, set_id: str, union_id: str) -> None:
        self._unions_of[set_id].discard(union_id)
        if not self._unions_of[set_id]:
            del self._unions_of[set_id]

    def _members_of(self, set_id: str) -> set[str]:
        held = self._sets.get(set_id)
        return held.members if held else set()

    def _move(self, set_id: str, coming: set[str], going: set[str]) -> None:
        for union_id in self._unions_of.get(set_id, ()):
            self._count(union_id, coming, going)
            self._want(union_id)

    def _count(self, union_id: str, coming: set[str], going: set[str]) -> None:
        counts, held = self._unions[union_id].counts, self._sets[union_id]
        for member in going:
            counts[member] -= 1
            if not counts[member]:
                del counts[member]
                self._toggle(held, {member})
        for member in coming:
            counts[member] += 1
            if counts[member] == 1:
                self._toggle(held, {member})

    def _key(self, set_id: str) -> str:
        return f"{SET} {ip_set_name(self._context.set_name(set_id))}"

    def _want(self, set_id: str) -> None:
        self._reconciler.want(self._key(set_id), self._sets[set_id])
