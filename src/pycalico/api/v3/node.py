from __future__ import annotations

import msgspec

from pycalico.api.meta import Resource, kind_field
from pycalico.api.wire import Struct


class NodeBGPSpec(Struct):
    """Addresses carry a prefix length (``192.168.10.10/24``); ``as_number`` None means the global one."""

    as_number: int | str | None = None
    ipv4_address: str = ""
    ipv6_address: str = ""
    ipv4_ipip_tunnel_addr: str = ""
    route_reflector_cluster_id: str = ""


class OrchRef(Struct):
    node_name: str = ""
    orchestrator: str = msgspec.field(default_factory=str)


class NodeAddress(Struct):
    """``type`` is CalicoNodeIP, InternalIP or ExternalIP."""

    address: str = msgspec.field(default_factory=str)
    type: str = ""


class NodeWireguardSpec(Struct):
    interface_ipv4_address: str = ""
    interface_ipv6_address: str = ""


class NodeSpec(Struct):
    bgp: NodeBGPSpec | None = None
    ipv4_vxlan_tunnel_addr: str = ""
    vxlan_tunnel_mac_addr: str = ""
    ipv6_vxlan_tunnel_addr: str = ""
    vxlan_tunnel_mac_addr_v6: str = ""
    orch_refs: list[OrchRef] = []
    wireguard: NodeWireguardSpec | None = None
    addresses: list[NodeAddress] = []


class NodeStatus(Struct):
    wireguard_public_key: str = ""
    wireguard_public_key_v6: str = ""
    pod_cidrs: list[str] = []


class Node(Resource):
    kind: str = kind_field("Node")
    spec: NodeSpec = msgspec.field(default_factory=NodeSpec)
    status: NodeStatus = msgspec.field(default_factory=NodeStatus)
