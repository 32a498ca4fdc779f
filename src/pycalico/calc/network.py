"""Nodes, pools and cluster-wide settings as the dataplane hears of them."""

from __future__ import annotations

import hashlib
import ipaddress

import msgspec

from pycalico.api.v3.bgpconfiguration import BGPConfiguration
from pycalico.api.v3.ippool import IPPool
from pycalico.api.v3.node import Node
from pycalico.calc import addresses, messages
from pycalico.calc.messages import PoolType
from pycalico.calc.sequencer import Sequencer
from pycalico.calc.settings import CalcSettings

_TUNNELS = ("Always", "CrossSubnet")


class NodeFacts(msgspec.Struct, frozen=True):
    """Addresses without prefix length, empty when there is none; ``subnet*`` the network the node is in."""

    name: str
    ipv4: str = ""
    ipv6: str = ""
    subnet4: str = ""
    subnet6: str = ""
    ipip: str = ""
    vxlan4: str = ""
    vxlan6: str = ""
    wireguard4: str = ""
    wireguard6: str = ""
    mac4: str = ""
    mac6: str = ""
    wireguard_key: str = ""
    wireguard_key_v6: str = ""
    pod_cidrs: tuple[str, ...] = ()

    def address(self, *, ipv6: bool) -> str:
        return self.ipv6 if ipv6 else self.ipv4


class PoolFacts(msgspec.Struct, frozen=True):
    cidr: str
    type: PoolType
    cross_subnet: bool
    nat_outgoing: bool


def tunnel_mac(node: str, *, ipv6: bool) -> str:
    """The MAC of a node's VXLAN device: ``f`` and the first bytes of a hash of its name."""
    text = node + ("-v6" if ipv6 else "")
    digest = hashlib.sha1(text.encode(), usedforsecurity=False).digest()
    return ":".join(f"{byte:02x}" for byte in b"f" + digest[:5])


def node_facts(node: Node) -> NodeFacts:
    """Raises ValueError for an address that does not parse."""
    spec, bgp = node.spec, node.spec.bgp
    found = {4: "", 6: ""}
    subnets = {4: "", 6: ""}
    for version, text in ((4, bgp.ipv4_address), (6, bgp.ipv6_address)) if bgp else ():
        if text:
            interface = ipaddress.ip_interface(text)
            found[version], subnets[version] = str(interface.ip), str(interface.network)
    for kind in ("InternalIP", "ExternalIP"):
        for item in spec.addresses:
            if item.type == kind:
                ip = ipaddress.ip_interface(item.address).ip
                found[ip.version] = found[ip.version] or str(ip)
    wireguard = spec.wireguard
    name = node.metadata.name
    return NodeFacts(
        name=name,
        ipv4=found[4],
        ipv6=found[6],
        subnet4=subnets[4],
        subnet6=subnets[6],
        ipip=_address(bgp.ipv4_ipip_tunnel_addr) if bgp else "",
        vxlan4=_address(spec.ipv4_vxlan_tunnel_addr),
        vxlan6=_address(spec.ipv6_vxlan_tunnel_addr),
        wireguard4=_address(wireguard.interface_ipv4_address) if wireguard else "",
        wireguard6=_address(wireguard.interface_ipv6_address) if wireguard else "",
        mac4=spec.vxlan_tunnel_mac_addr or tunnel_mac(name, ipv6=False),
        mac6=spec.vxlan_tunnel_mac_addr_v6 or tunnel_mac(name, ipv6=True),
        wireguard_key=node.status.wireguard_public_key,
        wireguard_key_v6=node.status.wireguard_public_key_v6,
        pod_cidrs=addresses.networks(node.status.pod_cidrs),
    )


def _address(text: str) -> str:
    return addresses.address(text) if text else ""


def pool_facts(pool: IPPool) -> PoolFacts:
    """Raises ValueError for a CIDR that does not parse."""
    spec = pool.spec
    if spec.vxlan_mode in _TUNNELS:
        kind, mode = PoolType.VXLAN, spec.vxlan_mode
    elif spec.ipip_mode in _TUNNELS:
        kind, mode = PoolType.IPIP, spec.ipip_mode
    else:
        kind, mode = PoolType.NO_ENCAP, ""
    return PoolFacts(addresses.network(spec.cidr), kind, mode == "CrossSubnet", spec.nat_outgoing)


class Network:
    """Passes pools, nodes and settings on."""

    def __init__(self, sequencer: Sequencer, settings: CalcSettings) -> None:
        self._sequencer = sequencer
        self._settings = settings
        self._pools: dict[str, dict[str, IPPool]] = {}

    def put_pool(self, pool: IPPool) -> None:
        """Of several pools with one CIDR, which validation cannot rule out, the first by name counts."""
        cidr = addresses.network(pool.spec.cidr)
        self._pools.setdefault(cidr, {})[pool.metadata.name] = pool
        self._tell_pool(cidr)

    def remove_pool(self, name: str) -> None:
        for cidr, named in list(self._pools.items()):
            if named.pop(name, None) is not None:
                self._tell_pool(cidr)

    def pools(self) -> dict[str, PoolFacts]:
        return {cidr: pool_facts(named[min(named)]) for cidr, named in self._pools.items() if named}

    def encapsulation(self) -> messages.Encapsulation:
        pools = [named[min(named)].spec for named in self._pools.values() if named]
        ipip = any(spec.ipip_mode in _TUNNELS for spec in pools)
        vxlan = any(spec.vxlan_mode in _TUNNELS and not addresses.is_ipv6(spec.cidr) for spec in pools)
        vxlan_v6 = any(spec.vxlan_mode in _TUNNELS and addresses.is_ipv6(spec.cidr) for spec in pools)
        chosen = self._settings
        return messages.Encapsulation(
            ipip=ipip if chosen.ipip_enabled is None else chosen.ipip_enabled,
            vxlan=vxlan if chosen.vxlan_enabled is None else chosen.vxlan_enabled,
            vxlan_v6=vxlan_v6,
        )

    def tell_encapsulation(self) -> None:
        self._sequencer.put("encapsulation", "", self.encapsulation())

    def _tell_pool(self, cidr: str) -> None:
        named = self._pools[cidr]
        if not named:
            del self._pools[cidr]
            self._sequencer.remove("pool", cidr, messages.IPPoolRemove(cidr))
            return
        spec = named[min(named)].spec
        update = messages.IPPoolUpdate(
            cidr,
            spec.nat_outgoing,
            ipip_mode="" if spec.ipip_mode == "Never" else spec.ipip_mode,
            vxlan_mode="" if spec.vxlan_mode == "Never" else spec.vxlan_mode,
        )
        self._sequencer.put("pool", cidr, update)

    def put_node(self, facts: NodeFacts) -> None:
        name = facts.name
        self._sequencer.put("host", name, messages.HostMetadataUpdate(name, facts.ipv4, facts.ipv6))
        v4 = facts.vxlan4 and facts.ipv4
        v6 = facts.vxlan6 and facts.ipv6
        if v4 or v6:
            vtep = messages.VTEPUpdate(
                name,
                mac=facts.mac4 if v4 else "",
                ipv4_address=facts.vxlan4 if v4 else "",
                parent_ipv4=facts.ipv4 if v4 else "",
                mac_v6=facts.mac6 if v6 else "",
                ipv6_address=facts.vxlan6 if v6 else "",
                parent_ipv6=facts.ipv6 if v6 else "",
            )
            self._sequencer.put("vtep", name, vtep)
        else:
            self._sequencer.remove("vtep", name, messages.VTEPRemove(name))
        if facts.wireguard_key or facts.wireguard_key_v6:
            peer = messages.WireguardEndpointUpdate(
                name, facts.wireguard_key, facts.wireguard4, facts.wireguard_key_v6, facts.wireguard6
            )
            self._sequencer.put("wireguard", name, peer)
        else:
            self._sequencer.remove("wireguard", name, messages.WireguardEndpointRemove(name))

    def remove_node(self, name: str) -> None:
        self._sequencer.remove("host", name, messages.HostMetadataRemove(name))
        self._sequencer.remove("vtep", name, messages.VTEPRemove(name))
        self._sequencer.remove("wireguard", name, messages.WireguardEndpointRemove(name))

    def put_bgp_configuration(self, resource: BGPConfiguration | None) -> None:
        cidrs: list[str] = []
        if resource is not None:
            spec = resource.spec
            blocks = (*spec.service_cluster_ips, *spec.service_external_ips, *spec.service_load_balancer_ips)
            cidrs = [addresses.network(block.cidr) for block in blocks if block.cidr]
        self._sequencer.put("services", "", messages.ServiceCIDRsUpdate(tuple(cidrs)))
