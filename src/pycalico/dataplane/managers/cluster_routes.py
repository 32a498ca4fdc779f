"""Routes to other nodes' blocks in pools without VXLAN, for when Felix and not BIRD programs them.

Facts: FelixConfiguration.programClusterRoutes of v3.32.0.
"""

from __future__ import annotations

from pycalico.calc.messages import (
    HostMetadataRemove,
    HostMetadataUpdate,
    PoolType,
    RouteRemove,
    RouteType,
    RouteUpdate,
)
from pycalico.dataplane.drivers import tunnels
from pycalico.dataplane.drivers.routes import WantedRoute
from pycalico.dataplane.managers.plane import Handlers, InterfacesChanged, Plane
from pycalico.dataplane.managers.vxlan import cluster_protocol, is_own_block

_OWNER = "2 cluster"
_POOLS = (PoolType.IPIP, PoolType.NO_ENCAP)
_REMOTE = (RouteType.REMOTE_WORKLOAD, RouteType.REMOTE_TUNNEL)


class ClusterRouteManager:
    def __init__(self, plane: Plane) -> None:
        self._plane = plane
        self._routes: dict[str, RouteUpdate] = {}
        self._node_address = ""
        self._parent = ""
        self._dirty: set[str] = set()

    @property
    def handlers(self) -> Handlers:
        return {
            RouteUpdate: self._on_route,
            RouteRemove: self._on_remove,
            HostMetadataUpdate: self._on_host,
            HostMetadataRemove: self._on_host_remove,
            InterfacesChanged: lambda _: self._find_parent(),
        }

    def _on_route(self, update: RouteUpdate) -> None:
        if not self._plane.context.is_of_family(update.dst):
            return
        remote = update.type in _REMOTE and update.pool_type in _POOLS
        if remote or is_own_block(update, *_POOLS):
            self._routes[update.dst] = update
            self._dirty.add(update.dst)
        elif self._routes.pop(update.dst, None):
            self._dirty.add(update.dst)

    def _on_remove(self, remove: RouteRemove) -> None:
        if self._routes.pop(remove.dst, None):
            self._dirty.add(remove.dst)

    def _on_host(self, update: HostMetadataUpdate) -> None:
        if update.hostname == self._plane.context.config.hostname:
            self._node_address = update.ipv4_address if self._plane.family == 4 else update.ipv6_address
            self._find_parent()

    def _on_host_remove(self, remove: HostMetadataRemove) -> None:
        if remove.hostname == self._plane.context.config.hostname:
            self._node_address = ""
            self._find_parent()

    def _find_parent(self) -> None:
        found = self._plane.interfaces.with_address(self._node_address) if self._node_address else None
        parent = found.link.name if found else ""
        if parent != self._parent:
            self._parent = parent
            self._dirty |= self._routes.keys()

    def resolve(self) -> None:
        for dst in self._dirty:
            wanted = self._wanted(dst)
            if wanted:
                self._plane.routes.put(_OWNER, dst, wanted)
            else:
                self._plane.routes.remove(_OWNER, dst)
        self._dirty = set()

    def _wanted(self, dst: str) -> WantedRoute | None:
        route = self._routes.get(dst)
        if route is None:
            return None
        config, mtu = self._plane.context.config, self._plane.mtus.ipip
        protocol = cluster_protocol(config.route_protocol)
        source = config.route_source(self._plane.family)
        if route.type is RouteType.LOCAL_WORKLOAD:
            return WantedRoute("", protocol, source=source)
        if not route.dst_node_ip:
            return None
        if route.pool_type is PoolType.IPIP and not route.same_subnet:
            return WantedRoute(tunnels.IPIP, protocol, route.dst_node_ip, onlink=True, source=source, mtu=mtu)
        if not self._parent:
            return None
        return WantedRoute(self._parent, protocol, route.dst_node_ip, source=source)
