"""VXLAN: the device, its neighbours and forwarding entries, routes to other nodes' blocks, who may send to us."""

from __future__ import annotations

import msgspec

from pycalico.calc.messages import PoolType, RouteRemove, RouteType, RouteUpdate, VTEPRemove, VTEPUpdate
from pycalico.dataplane.drivers import tunnels
from pycalico.dataplane.drivers.neighbours import Entry
from pycalico.dataplane.drivers.routes import BOOT, CLUSTER, WantedRoute
from pycalico.dataplane.managers.plane import Handlers, InterfacesChanged, Plane
from pycalico.dataplane.rules import name
from pycalico.reconcile.reconciler import Reconciler

_OWNER = "3 vxlan"


class _VTEP(msgspec.Struct, frozen=True):
    mac: str
    address: str
    host: str


def cluster_protocol(route_protocol: int) -> int:
    """Of routes that are not workloads': 80, unless another protocol was configured for all."""
    return CLUSTER if route_protocol == BOOT else route_protocol


def is_own_block(update: RouteUpdate, *pools: PoolType) -> bool:
    """A block of ours: packets to addresses in it that nobody has must not leave by the default route.

    A whole address is not one: it is a borrowed address, or a block that CNI is about to route.
    """
    return (
        update.type is RouteType.LOCAL_WORKLOAD
        and update.pool_type in pools
        and not update.local_workload
        and not update.dst.endswith(("/32", "/128"))
    )


class VXLANManager:
    def __init__(self, plane: Plane) -> None:
        self._plane = plane
        self._device = tunnels.VXLAN[plane.family]
        self._routes: dict[str, RouteUpdate] = {}
        self._vteps: dict[str, _VTEP] = {}
        self._parent = ""
        self._dirty_routes: set[str] = set()
        self._dirty_vteps = True

    @property
    def handlers(self) -> Handlers:
        return {
            RouteUpdate: self._on_route,
            RouteRemove: self._on_route_remove,
            VTEPUpdate: self._on_vtep,
            VTEPRemove: self._on_vtep_remove,
            InterfacesChanged: self._on_interfaces,
        }

    # ---- messages

    def _on_route(self, update: RouteUpdate) -> None:
        if not self._plane.context.is_of_family(update.dst):
            return
        remote = update.type is RouteType.REMOTE_WORKLOAD and update.pool_type is PoolType.VXLAN
        if remote or is_own_block(update, PoolType.VXLAN):
            self._routes[update.dst] = update
            self._dirty_routes.add(update.dst)
        elif self._routes.pop(update.dst, None):
            self._dirty_routes.add(update.dst)

    def _on_route_remove(self, remove: RouteRemove) -> None:
        if self._routes.pop(remove.dst, None):
            self._dirty_routes.add(remove.dst)

    def _on_vtep(self, update: VTEPUpdate) -> None:
        v4 = self._plane.family == 4
        address = update.ipv4_address if v4 else update.ipv6_address
        if not address:
            self._on_vtep_remove(VTEPRemove(update.node))
            return
        vtep = _VTEP(
            (update.mac if v4 else update.mac_v6).lower(),
            address,
            update.parent_ipv4 if v4 else update.parent_ipv6,
        )
        if self._vteps.get(update.node) != vtep:
            self._vteps[update.node] = vtep
            self._vtep_changed(update.node)

    def _on_vtep_remove(self, remove: VTEPRemove) -> None:
        if self._vteps.pop(remove.node, None):
            self._vtep_changed(remove.node)

    def _vtep_changed(self, node: str) -> None:
        self._dirty_vteps = True
        if node == self._hostname:
            self._dirty_routes |= self._routes.keys()
        else:
            self._dirty_routes |= {dst for dst, route in self._routes.items() if route.dst_node_name == node}

    def _on_interfaces(self, _: InterfacesChanged) -> None:
        if self._find_parent() != self._parent:
            self._dirty_vteps = True
            self._dirty_routes |= self._routes.keys()

    # ---- wishes

    @property
    def _hostname(self) -> str:
        return self._plane.context.config.hostname

    def _find_parent(self) -> str:
        own = self._vteps.get(self._hostname)
        found = self._plane.interfaces.with_address(own.host) if own and own.host else None
        return found.link.name if found else ""

    def resolve(self) -> None:
        if self._dirty_vteps:
            self._dirty_vteps = False
            self._resolve_vteps()
        for dst in self._dirty_routes:
            wanted = self._wanted(dst)
            if wanted:
                self._plane.routes.put(_OWNER, dst, wanted)
            else:
                self._plane.routes.remove(_OWNER, dst)
        self._dirty_routes = set()

    def _resolve_vteps(self) -> None:
        config = self._plane.context.config
        self._parent = self._find_parent()
        own = self._vteps.get(self._hostname)
        if own and self._parent:
            settings = tunnels.VXLANSettings(
                config.vxlan_vni, config.vxlan_port, own.host, self._parent, own.mac
            )
            mtu = self._plane.mtus.vxlan if self._plane.family == 4 else self._plane.mtus.vxlan_v6
            self._plane.tunnels.want(self._device, tunnels.Tunnel(mtu, own.address, settings))
        others = [vtep for node, vtep in self._vteps.items() if node != self._hostname]
        hosts = (vtep.host for vtep in others if vtep.host)
        self._plane.sets.replace(name.ALL_VXLAN, "hash:net", (*hosts, *config.external_node_cidrs))
        self._keep(self._plane.tunnel_neighbours, {(self._device, v.address): v.mac for v in others})
        self._keep(self._plane.forwarding, {(self._device, v.mac): v.host for v in others})

    @staticmethod
    def _keep(reconciler: Reconciler[Entry, str, str], wanted: dict[Entry, str]) -> None:
        for entry in reconciler.delta.wanted.keys() - wanted.keys():
            reconciler.unwant(entry)
        for entry, value in wanted.items():
            if reconciler.delta.wanted.get(entry) != value:
                reconciler.want(entry, value)

    def _wanted(self, dst: str) -> WantedRoute | None:
        config = self._plane.context.config
        route = self._routes.get(dst)
        if route is None:
            return None
        protocol = cluster_protocol(config.route_protocol)
        source = config.route_source(self._plane.family)
        if route.type is RouteType.LOCAL_WORKLOAD:
            return WantedRoute("", protocol, source=source)
        if route.same_subnet:
            if not route.dst_node_ip or not self._parent:
                return None
            return WantedRoute(self._parent, protocol, route.dst_node_ip, onlink=True, source=source)
        vtep = self._vteps.get(route.dst_node_name)
        if vtep is None:
            return None
        return WantedRoute(self._device, config.route_protocol, vtep.address, onlink=True, source=source)
