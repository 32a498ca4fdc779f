"""The kinds of tunnel that take an address, and the pools it may come from. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence

import msgspec

from pycalico.api import selector
from pycalico.api.v3.ippool import IPPool
from pycalico.api.v3.node import Node, NodeBGPSpec, NodeWireguardSpec
from pycalico.ipam.pools import TUNNEL

_MODES = ("Always", "CrossSubnet")


class TunnelKind(msgspec.Struct, frozen=True):
    """``type`` is stored with the allocation; ``part`` and ``field`` say where the Node keeps the address."""

    type: str
    handle_prefix: str
    family: int
    part: str
    field: str

    def handle(self, node: str) -> str:
        return f"{self.handle_prefix}-{node}"

    def address_of(self, node: Node) -> str:
        """Empty when the node has none."""
        holder: object = getattr(node.spec, self.part) if self.part else node.spec
        return getattr(holder, self.field) if holder is not None else ""

    def put(self, node: Node, address: str) -> None:
        """Sets or (with "") clears it; a part that is left empty goes."""
        if not self.part:
            setattr(node.spec, self.field, address)
            return
        empty = NodeBGPSpec() if self.part == "bgp" else NodeWireguardSpec()
        holder = getattr(node.spec, self.part) or msgspec.structs.replace(empty)
        setattr(holder, self.field, address)
        setattr(node.spec, self.part, None if holder == empty else holder)


KINDS = (
    TunnelKind("wireguardTunnelAddress", "wireguard-tunnel-addr", 4, "wireguard", "interface_ipv4_address"),
    TunnelKind(
        "wireguardV6TunnelAddress", "wireguard-v6-tunnel-addr", 6, "wireguard", "interface_ipv6_address"
    ),
    TunnelKind("ipipTunnelAddress", "ipip-tunnel-addr", 4, "bgp", "ipv4_ipip_tunnel_addr"),
    TunnelKind("vxlanTunnelAddress", "vxlan-tunnel-addr", 4, "", "ipv4_vxlan_tunnel_addr"),
    TunnelKind("vxlanV6TunnelAddress", "vxlan-v6-tunnel-addr", 6, "", "ipv6_vxlan_tunnel_addr"),
)


def eligible_cidrs(
    kind: TunnelKind, node: Node, pools: Sequence[IPPool], environ: Mapping[str, str]
) -> list[str]:
    """The pools that this node's tunnel may take its address from; none means that it needs no tunnel."""
    if kind.part == "wireguard" and not _wants_wireguard(kind, node, environ):
        return []
    return [pool.spec.cidr for pool in pools if _serves(pool, kind) and _selects(pool, node)]


def _wants_wireguard(kind: TunnelKind, node: Node, environ: Mapping[str, str]) -> bool:
    if environ.get("FELIX_WIREGUARDHOSTENCRYPTIONENABLED", "").lower() in ("true", "1", "yes", "y", "t"):
        # Then the node's own address serves as the device's.
        return False
    status = node.status
    return bool(status.wireguard_public_key if kind.family == 4 else status.wireguard_public_key_v6)


def _serves(pool: IPPool, kind: TunnelKind) -> bool:
    spec = pool.spec
    try:
        version = ipaddress.ip_network(spec.cidr, strict=False).version
    except ValueError:
        return False
    if spec.disabled or version != kind.family or (spec.allowed_uses and TUNNEL not in spec.allowed_uses):
        return False
    if kind.type.startswith("ipip"):
        return spec.ipip_mode in _MODES
    if kind.type.startswith("vxlan"):
        return spec.vxlan_mode in _MODES
    return True


def _selects(pool: IPPool, node: Node) -> bool:
    try:
        return selector.parse(pool.spec.node_selector).matches(node.metadata.labels)
    except selector.SelectorError:
        return False


def is_inside(address: str, cidrs: Sequence[str]) -> bool:
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return False
    return any(ip in ipaddress.ip_network(cidr, strict=False) for cidr in cidrs)
