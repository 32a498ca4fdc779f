"""Where managers put their wishes: one plane per IP family."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

import msgspec

from pycalico.calc.messages import Message
from pycalico.dataplane.drivers.chains import Chains
from pycalico.dataplane.drivers.ipsets import IPSet, canonical
from pycalico.dataplane.drivers.neighbours import Entry
from pycalico.dataplane.drivers.routes import Seen, WantedRoute
from pycalico.dataplane.drivers.settings import Setting
from pycalico.dataplane.drivers.tunnels import Tunnel
from pycalico.dataplane.drivers.wireguard import Device
from pycalico.dataplane.rules.chain import Chain
from pycalico.dataplane.rules.context import RuleContext
from pycalico.kernel.interfaces import Interfaces
from pycalico.kernel.netlink import Route, Rule
from pycalico.kernel.wireguard import Peer, SeenPeer
from pycalico.reconcile.desired import Desired
from pycalico.reconcile.reconciler import Reconciler

log = logging.getLogger(__name__)

TABLES = ("raw", "mangle", "nat", "filter")
Handlers = Mapping[type, Callable[[Any], object]]


class InterfacesChanged(Message, frozen=True):
    """Interfaces appeared, went, or changed state or addresses."""

    names: frozenset[str]


class Manager(Protocol):
    """``handlers`` by type of message; ``resolve`` is called when a batch has been handled."""

    @property
    def handlers(self) -> Handlers: ...

    def resolve(self) -> None: ...


class Sets(Protocol):
    """IP sets of one family by identifier."""

    def replace(self, set_id: str, set_type: str, members: Iterable[str]) -> None: ...

    def change(self, set_id: str, added: Iterable[str], removed: Iterable[str]) -> None:
        """A set that was never told of is left alone: its whole state follows."""
        ...

    def remove(self, set_id: str) -> None: ...


class Unions(Protocol):
    """IP sets that hold whatever any of others holds; for native rendering."""

    def unite(self, union_id: str, set_ids: Iterable[str]) -> None: ...

    def disband(self, union_id: str) -> None: ...


def members_of_family(context: RuleContext, members: Iterable[str]) -> set[str]:
    """As ipset prints them; a member with a port is ``<address>,<protocol>:<port>``."""
    family = context.family
    found: set[str] = set()
    for member in members:
        if context.is_of_family(member.partition(",")[0]):
            try:
                found.update(canonical(family, member))
            except ValueError:
                log.warning("leaving out %r, which is no address, of an IP set", member)
    return found


class SetWishes:
    """Sets are changed in place."""

    def __init__(self, context: RuleContext, reconciler: Reconciler[str, IPSet, IPSet]) -> None:
        self._context = context
        self.reconciler = reconciler
        self._sets: dict[str, IPSet] = {}

    def _members(self, members: Iterable[str]) -> set[str]:
        return members_of_family(self._context, members)

    def replace(self, set_id: str, set_type: str, members: Iterable[str]) -> None:
        wanted = self._members(members)
        held = self._sets.get(set_id)
        if held is not None and held.type == set_type:
            held.toggle(held.members ^ wanted)
        else:
            most = self._context.config.max_ipset_size
            self._sets[set_id] = IPSet(set_type, most, wanted, touched=set())
        self._want(set_id)

    def change(self, set_id: str, added: Iterable[str], removed: Iterable[str]) -> None:
        held = self._sets.get(set_id)
        if held is not None:
            held.toggle(self._members(removed) & held.members)
            held.toggle(self._members(added) - held.members)
            self._want(set_id)

    def remove(self, set_id: str) -> None:
        if self._sets.pop(set_id, None) is not None:
            self.reconciler.unwant(self._context.set_name(set_id))

    def _want(self, set_id: str) -> None:
        self.reconciler.want(self._context.set_name(set_id), self._sets[set_id])


class WireguardWishes(msgspec.Struct):
    """Without any, what an earlier run left is taken away."""

    devices: Reconciler[str, Device, Device]
    peers: Reconciler[str, Peer, SeenPeer]
    routes: Reconciler[str, str, tuple[Route, ...]]
    rules: Reconciler[Rule, bool, bool]

    @property
    def all(self) -> list[Reconciler[Any, Any, Any]]:
        return [self.devices, self.peers, self.routes, self.rules]


class Plane(msgspec.Struct):
    """One family's wishes."""

    context: RuleContext
    interfaces: Interfaces
    tables: dict[str, Chains]
    sets: Sets
    routes: Desired[str, WantedRoute]
    route_reconciler: Reconciler[str, WantedRoute, Seen]
    neighbours: Reconciler[Entry, str, str]
    tunnel_neighbours: Reconciler[Entry, str, str]
    forwarding: Reconciler[Entry, str, str]
    tunnels: Reconciler[str, Tunnel, Tunnel]
    settings: Reconciler[str, Setting, str]
    wireguard: WireguardWishes
    mtus: MTUs
    unions: Unions | None = None

    @property
    def family(self) -> int:
        return self.context.family


class MTUs(msgspec.Struct, frozen=True):
    """Of the tunnels, in bytes, after detection."""

    ipip: int
    vxlan: int
    vxlan_v6: int
    wireguard: int
    wireguard_v6: int
    pod: int


class Offers:
    """Remembers which chains an owner offered to which table, so that the next offer replaces them."""

    def __init__(self, tables: Mapping[str, Chains]) -> None:
        self._tables = tables
        self._names: dict[tuple[str, str], tuple[str, ...]] = {}

    def put(self, owner: str, table: str, chains: Iterable[Chain]) -> None:
        offered = tuple(chains)
        names = tuple(chain.name for chain in offered)
        before = self._names.get((owner, table), ())
        self._tables[table].update(offered)
        self._tables[table].remove(set(before) - set(names))
        if names:
            self._names[owner, table] = names
        else:
            self._names.pop((owner, table), None)
