"""IP sets: those that policies name, pools, and the addresses of this host."""

from __future__ import annotations

import re
from collections.abc import Sequence

from pycalico.calc.messages import IPPoolRemove, IPPoolUpdate, IPSetDelta, IPSetRemove, IPSetUpdate
from pycalico.dataplane.managers.plane import Handlers, InterfacesChanged, Plane
from pycalico.dataplane.rules import name
from pycalico.dataplane.rules.static_nat import nat_outgoing_chain

_LOOPBACK_NET = "127.0.0.0"


class PolicySetManager:
    def __init__(self, plane: Plane) -> None:
        self._plane = plane

    @property
    def handlers(self) -> Handlers:
        return {IPSetUpdate: self._on_update, IPSetDelta: self._on_delta, IPSetRemove: self._on_remove}

    def resolve(self) -> None:
        """Nothing is left to do."""

    def _on_update(self, update: IPSetUpdate) -> None:
        self._plane.sets.replace(update.id, update.type.value, update.members)

    def _on_delta(self, delta: IPSetDelta) -> None:
        self._plane.sets.change(delta.id, delta.added, delta.removed)

    def _on_remove(self, remove: IPSetRemove) -> None:
        self._plane.sets.remove(remove.id)


class PoolManager:
    """All pools, those with outgoing NAT, and the NAT itself."""

    def __init__(self, plane: Plane) -> None:
        self._plane = plane
        self._pools: dict[str, IPPoolUpdate] = {}
        self._dirty = True

    @property
    def handlers(self) -> Handlers:
        return {IPPoolUpdate: self._on_update, IPPoolRemove: self._on_remove}

    def _on_update(self, update: IPPoolUpdate) -> None:
        if self._plane.context.is_of_family(update.cidr):
            self._pools[update.cidr] = update
            self._dirty = True

    def _on_remove(self, remove: IPPoolRemove) -> None:
        self._dirty |= self._pools.pop(remove.cidr, None) is not None

    def resolve(self) -> None:
        if not self._dirty:
            return
        self._dirty = False
        masqueraded = [pool.cidr for pool in self._pools.values() if pool.nat_outgoing]
        self._plane.sets.replace(name.ALL_POOLS, "hash:net", self._pools)
        self._plane.sets.replace(name.MASQ_POOLS, "hash:net", masqueraded)
        self._plane.tables["nat"].update([nat_outgoing_chain(self._plane.context, bool(masqueraded))])


class ThisHostManager:
    """The addresses of interfaces that are not workloads'."""

    def __init__(self, plane: Plane) -> None:
        self._plane = plane
        config = plane.context.config
        self._skipped = is_skipped(config.interface_prefixes, config.interface_exclude)
        self._members: set[str] | None = None
        self._dirty = True

    @property
    def handlers(self) -> Handlers:
        return {InterfacesChanged: self._on_interfaces}

    def _on_interfaces(self, change: InterfacesChanged) -> None:
        self._dirty |= any(not self._skipped.search(item) for item in change.names)

    def resolve(self) -> None:
        if not self._dirty:
            return
        self._dirty = False
        members: set[str] = set()
        names = [item for item in self._plane.interfaces.names() if not self._skipped.search(item)]
        if not names and self._members is None:
            return
        for item in names:
            interface = self._plane.interfaces.get(item)
            # An address counts once the kernel takes packets for it, which it does while the link is up.
            if interface and interface.link.admin_up:
                members |= interface.addresses
        if "127.0.0.1" in members:
            # The kernel takes all of 127.0.0.0/8 for its own; upstream lists that route's first address.
            members.add(_LOOPBACK_NET)
        if members != self._members:
            self._members = members
            self._plane.sets.replace(name.THIS_HOST, "hash:ip", members)


def is_skipped(prefixes: Sequence[str], excluded: Sequence[str]) -> re.Pattern[str]:
    """Matches interfaces that are workloads' or excluded (by name, or by expression between slashes)."""
    patterns = [f"^{re.escape(prefix)}" for prefix in prefixes]
    for item in excluded:
        is_expression = len(item) > 2 and item.startswith("/") and item.endswith("/")
        patterns.append(item[1:-1] if is_expression else f"^{re.escape(item)}$")
    return re.compile("|".join(f"(?:{pattern})" for pattern in patterns))
