"""Traffic between nodes that publish a key goes through WireGuard; to others it goes as without.

A rule sends every packet but WireGuard's own to a table with the cluster's workloads: those of nodes with a key lead
to the device, all others lead back to the main table. Facts: v3.28.1's table, rule and peers.
"""

from __future__ import annotations

import ipaddress
import logging
from collections.abc import Iterable

import msgspec

from pycalico.calc.messages import (
    HostMetadataRemove,
    HostMetadataUpdate,
    RouteRemove,
    RouteType,
    RouteUpdate,
    WireguardEndpointRemove,
    WireguardEndpointUpdate,
)
from pycalico.dataplane.drivers import detours
from pycalico.dataplane.drivers.wireguard import Device
from pycalico.dataplane.managers.plane import Handlers, InterfacesChanged, Plane
from pycalico.kernel import wireguard
from pycalico.kernel.netlink import Rule
from pycalico.kernel.wireguard import Peer

log = logging.getLogger(__name__)

_WORKLOADS = (
    RouteType.LOCAL_WORKLOAD,
    RouteType.REMOTE_WORKLOAD,
    RouteType.LOCAL_TUNNEL,
    RouteType.REMOTE_TUNNEL,
)


class _Node(msgspec.Struct):
    """``key`` is what it publishes, usable or not."""

    address: str = ""
    key: str = ""
    cidrs: set[str] = msgspec.field(default_factory=set)


class WireguardManager:
    def __init__(self, plane: Plane) -> None:
        self._plane = plane
        config = plane.context.config
        v4 = plane.family == 4
        self._device = config.wireguard_interface if v4 else config.wireguard_interface_v6
        self._port = config.wireguard_port if v4 else config.wireguard_port_v6
        self._mtu = plane.mtus.wireguard if v4 else plane.mtus.wireguard_v6
        self._host_encryption = config.wireguard_host_encryption
        self._hostname = config.hostname
        self._nodes: dict[str, _Node] = {}
        self._node_of: dict[str, str] = {}
        self._named: dict[str, set[str]] = {}
        self._key_of: dict[str, str] = {}
        self._routed: dict[str, str] = {}
        self._gone: set[str] = set()
        self._dirty: set[str] = set()
        self._address = ""
        self._index = 0
        self._told: Device | None = None

    @property
    def handlers(self) -> Handlers:
        return {
            RouteUpdate: self._on_route,
            RouteRemove: self._on_route_remove,
            HostMetadataUpdate: self._on_host,
            HostMetadataRemove: lambda remove: self._set_address(remove.hostname, ""),
            WireguardEndpointUpdate: self._on_endpoint,
            WireguardEndpointRemove: lambda remove: self._set_key(remove.hostname, "", ""),
            InterfacesChanged: self._on_interfaces,
        }

    # ---- messages

    def _on_route(self, update: RouteUpdate) -> None:
        if not self._plane.context.is_of_family(update.dst):
            return
        hosts = (RouteType.REMOTE_HOST,) if self._host_encryption else ()
        if update.type in (*_WORKLOADS, *hosts) and update.dst_node_name:
            self._place(update.dst, update.dst_node_name)
        else:
            self._place(update.dst, "")

    def _on_route_remove(self, remove: RouteRemove) -> None:
        if self._plane.context.is_of_family(remove.dst):
            self._place(remove.dst, "")

    def _place(self, cidr: str, name: str) -> None:
        """``name`` empty: nowhere."""
        before = self._node_of.pop(cidr, "")
        if name:
            self._node_of[cidr] = name
        if name == before:
            return
        if before:
            self._nodes[before].cidrs.discard(cidr)
            self._touch(before)
            self._gone.add(cidr)
        if name:
            self._nodes.setdefault(name, _Node()).cidrs.add(cidr)
            self._touch(name)

    def _on_host(self, update: HostMetadataUpdate) -> None:
        self._set_address(
            update.hostname, update.ipv4_address if self._plane.family == 4 else update.ipv6_address
        )

    def _set_address(self, name: str, address: str) -> None:
        node = self._nodes.setdefault(name, _Node())
        if node.address != address:
            node.address = address
            self._touch(name)

    def _on_endpoint(self, update: WireguardEndpointUpdate) -> None:
        if self._plane.family == 4:
            self._set_key(update.hostname, update.public_key, update.interface_ipv4)
        else:
            self._set_key(update.hostname, update.public_key_v6, update.interface_ipv6)

    def _set_key(self, name: str, key: str, address: str) -> None:
        if name == self._hostname:
            self._address = address
            return
        node = self._nodes.setdefault(name, _Node())
        if key and not wireguard.is_key(key):
            log.error("node %s publishes what is no WireGuard key: traffic to it is not encrypted", name)
            key = ""
        if node.key == key:
            return
        for changed in filter(None, (node.key, key)):
            names = self._named.setdefault(changed, set())
            names.symmetric_difference_update({name})
            self._dirty |= names
            if len(names) > 1:
                both = " and ".join(sorted(names))
                log.error("nodes %s publish the same WireGuard key: traffic to them is not encrypted", both)
            if not names:
                del self._named[changed]
        node.key = key
        self._touch(name)

    def _touch(self, name: str) -> None:
        self._dirty.add(name)

    def _on_interfaces(self, changed: InterfacesChanged) -> None:
        """What hung on the device went with it."""
        if self._device not in changed.names:
            return
        wishes = self._plane.wireguard
        wishes.devices.resync()
        index = self._plane.interfaces.index_of(self._device)
        if index != self._index:
            self._index = index
            wishes.peers.resync()
            wishes.routes.resync()

    # ---- wishes

    def resolve(self) -> None:
        self._resolve_device()
        dirty, self._dirty = self._dirty, set()
        keys = {name: self._usable_key(name) for name in dirty if name != self._hostname}
        # A key may have gone from one node to another: first all that end, then all that begin.
        for name, key in keys.items():
            before = self._key_of.get(name, "")
            if before and before != key:
                del self._key_of[name]
                self._plane.wireguard.peers.unwant(before)
        for name, key in keys.items():
            node = self._nodes[name]
            if key:
                self._key_of[name] = key
                self._want_peer(key, node)
            self._route(node.cidrs, self._device if key else detours.BACK)
            if not (node.address or node.key or node.cidrs):
                del self._nodes[name]
        if self._hostname in dirty:
            self._route(self._own_cidrs(), detours.BACK)
        for cidr in self._gone:
            if cidr not in self._node_of and self._routed.pop(cidr, ""):
                self._plane.wireguard.routes.unwant(cidr)
        self._gone = set()

    def _resolve_device(self) -> None:
        config, wishes = self._plane.context.config, self._plane.wireguard
        own = self._nodes.get(self._hostname)
        address = self._address
        if not address and self._host_encryption and own:
            address = own.address
        mark = self._plane.context.marks.wireguard
        wanted = Device(self._mtu, address, self._port, mark)
        if wanted != self._told:
            self._told = wanted
            wishes.devices.want(self._device, wanted)
            wishes.rules.want(
                Rule(config.wireguard_rule_priority, config.wireguard_table, mark, mark, negated=True), True
            )

    def _usable_key(self, name: str) -> str:
        node = self._nodes[name]
        return node.key if node.address and len(self._named.get(node.key, ())) == 1 else ""

    def _want_peer(self, key: str, node: _Node) -> None:
        keepalive_s = self._plane.context.config.wireguard_keepalive_s
        peer = Peer(wireguard.endpoint(node.address, self._port), frozenset(node.cidrs), keepalive_s)
        peers = self._plane.wireguard.peers
        if peers.delta.wanted.get(key) != peer:
            peers.want(key, peer)

    def _route(self, cidrs: Iterable[str], way: str) -> None:
        for cidr in cidrs:
            if self._routed.get(cidr) != way:
                self._routed[cidr] = way
                self._plane.wireguard.routes.want(cidr, way)

    def _own_cidrs(self) -> set[str]:
        """This node's blocks, and addresses of its own that are in none of them."""
        own = self._nodes.get(self._hostname, _Node())
        nets = {cidr: ipaddress.ip_network(cidr) for cidr in own.cidrs}
        blocks = [net for net in nets.values() if net.num_addresses > 1]
        wanted = {
            cidr
            for cidr, net in nets.items()
            if net.num_addresses > 1 or not any(net.subnet_of(block) for block in blocks)  # type: ignore[arg-type]
        }
        for cidr in own.cidrs - wanted:
            if self._routed.pop(cidr, ""):
                self._plane.wireguard.routes.unwant(cidr)
        return wanted
