"""IP sets as sets of nf_tables: what changed is noted member by member."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pycalico.dataplane.drivers.nft.compiler import ip_set_name
from pycalico.dataplane.drivers.nft.members import NativeSet
from pycalico.dataplane.drivers.nft.objects import SET
from pycalico.dataplane.managers.plane import members_of_family
from pycalico.dataplane.rules.context import RuleContext
from pycalico.reconcile.reconciler import Reconciler


class NativeSetWishes:
    """Work for a change is that of the change, however many members there are."""

    def __init__(self, context: RuleContext, reconciler: Reconciler[str, Any, Any]) -> None:
        self._context = context
        self._reconciler = reconciler
        self._sets: dict[str, NativeSet] = {}

    def replace(self, set_id: str, set_type: str, members: Iterable[str]) -> None:
        wanted = members_of_family(self._context, members)
        held = self._sets.get(set_id)
        if held is None or held.type != set_type:
            self._sets[set_id] = NativeSet(self._context.set_name(set_id), set_type, wanted)
        else:
            self._toggle(held, held.members ^ wanted)
        self._want(set_id)

    def change(self, set_id: str, added: Iterable[str], removed: Iterable[str]) -> None:
        held = self._sets.get(set_id)
        if held is None:
            return
        self._toggle(held, members_of_family(self._context, removed) & held.members)
        self._toggle(held, members_of_family(self._context, added) - held.members)
        self._want(set_id)

    @staticmethod
    def _toggle(held: NativeSet, members: set[str]) -> None:
        """What comes and goes again before the kernel was told differs from nothing."""
        held.members ^= members
        if held.touched is not None:
            held.touched ^= members

    def remove(self, set_id: str) -> None:
        if self._sets.pop(set_id, None) is not None:
            self._reconciler.unwant(self._key(set_id))

    def _key(self, set_id: str) -> str:
        return f"{SET} {ip_set_name(self._context.set_name(set_id))}"

    def _want(self, set_id: str) -> None:
        self._reconciler.want(self._key(set_id), self._sets[set_id])
