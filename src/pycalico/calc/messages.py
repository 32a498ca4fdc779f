"""What the calculation tells the dataplane.

Messages are states, not steps: an update replaces what was said of the same key before. They arrive in an
order that is safe to apply one after the other: IP sets before the policies that name them, policies and
profiles before endpoints, removals in the opposite order. ``InSync`` follows the last message of the state at
start; nothing may be removed from the kernel before it.

The shapes follow Felix's own protocol (v3.28.1), so that a dataplane can be compared with upstream's.
"""

from __future__ import annotations

from enum import Enum

import msgspec


class Message(msgspec.Struct, frozen=True):
    """Base of all messages."""


# ---- rules -------------------------------------------------------------------------------------------------


class PortRange(msgspec.Struct, frozen=True):
    first: int
    last: int


class Rule(msgspec.Struct, frozen=True):
    """One rule with selectors replaced by IP set identifiers.

    ``action`` is allow, deny, pass or log; ``protocol`` a lower-case name or a number; ``ip_version`` 4, 6 or
    None for both. ``*_ip_set_ids`` must all contain the address; ``dst_ip_port_set_ids`` hold address and port.
    """

    action: str
    ip_version: int | None = None
    protocol: str | int | None = None
    src_nets: tuple[str, ...] = ()
    src_ports: tuple[PortRange, ...] = ()
    src_named_port_ip_set_ids: tuple[str, ...] = ()
    src_ip_set_ids: tuple[str, ...] = ()
    dst_nets: tuple[str, ...] = ()
    dst_ports: tuple[PortRange, ...] = ()
    dst_named_port_ip_set_ids: tuple[str, ...] = ()
    dst_ip_set_ids: tuple[str, ...] = ()
    dst_ip_port_set_ids: tuple[str, ...] = ()
    icmp_type: int | None = None
    icmp_code: int | None = None
    not_protocol: str | int | None = None
    not_src_nets: tuple[str, ...] = ()
    not_src_ports: tuple[PortRange, ...] = ()
    not_src_named_port_ip_set_ids: tuple[str, ...] = ()
    not_src_ip_set_ids: tuple[str, ...] = ()
    not_dst_nets: tuple[str, ...] = ()
    not_dst_ports: tuple[PortRange, ...] = ()
    not_dst_named_port_ip_set_ids: tuple[str, ...] = ()
    not_dst_ip_set_ids: tuple[str, ...] = ()
    not_icmp_type: int | None = None
    not_icmp_code: int | None = None
    annotations: tuple[tuple[str, str], ...] = ()


class PolicyID(msgspec.Struct, frozen=True, order=True):
    """``name`` is Felix's: ``default/default.allow-a``, ``default.gnp1``, ``default/knp.default.web``."""

    tier: str
    name: str


class PolicyUpdate(Message, frozen=True):
    """``original_selector`` is canonical text; equal neighbours form a policy group."""

    id: PolicyID
    inbound: tuple[Rule, ...]
    outbound: tuple[Rule, ...]
    original_selector: str
    namespace: str = ""
    untracked: bool = False
    pre_dnat: bool = False


class PolicyRemove(Message, frozen=True):
    id: PolicyID


class ProfileUpdate(Message, frozen=True):
    name: str
    inbound: tuple[Rule, ...]
    outbound: tuple[Rule, ...]


class ProfileRemove(Message, frozen=True):
    name: str


# ---- IP sets -----------------------------------------------------------------------------------------------


class IPSetType(Enum):
    """``NET`` members are CIDRs (``10.0.0.0/8``), ``IP_AND_PORT`` members ``10.0.0.1,tcp:80``."""

    NET = "hash:net"
    IP_AND_PORT = "hash:ip,port"


class IPSetUpdate(Message, frozen=True):
    """The whole set; members of both families, ``id`` without the ``cali40`` prefix (``s:...``)."""

    id: str
    type: IPSetType
    members: frozenset[str]


class IPSetDelta(Message, frozen=True):
    id: str
    added: frozenset[str]
    removed: frozenset[str]


class IPSetRemove(Message, frozen=True):
    id: str


# ---- endpoints ---------------------------------------------------------------------------------------------


class WorkloadEndpointID(msgspec.Struct, frozen=True, order=True):
    """``workload`` is ``<namespace>/<pod>`` for Kubernetes."""

    orchestrator: str
    workload: str
    endpoint: str


class NATPair(msgspec.Struct, frozen=True):
    external: str
    internal: str


class PolicyLists(msgspec.Struct, frozen=True):
    """Policies of one tier that apply, in order, per direction (names as in PolicyID)."""

    tier: str
    ingress: tuple[str, ...] = ()
    egress: tuple[str, ...] = ()


class WorkloadEndpointUpdate(Message, frozen=True):
    """``nets`` and ``nats`` of both families; ``state`` is active or inactive."""

    id: WorkloadEndpointID
    interface: str
    state: str = "active"
    mac: str = ""
    profiles: tuple[str, ...] = ()
    ipv4_nets: tuple[str, ...] = ()
    ipv6_nets: tuple[str, ...] = ()
    tiers: tuple[PolicyLists, ...] = ()
    ipv4_nats: tuple[NATPair, ...] = ()
    ipv6_nats: tuple[NATPair, ...] = ()
    allow_spoofed_source_prefixes: tuple[str, ...] = ()


class WorkloadEndpointRemove(Message, frozen=True):
    id: WorkloadEndpointID


class HostEndpointUpdate(Message, frozen=True):
    """``interface`` may be empty (matched by ``expected_*``) or ``*``."""

    name: str
    interface: str
    profiles: tuple[str, ...] = ()
    expected_ipv4: tuple[str, ...] = ()
    expected_ipv6: tuple[str, ...] = ()
    tiers: tuple[PolicyLists, ...] = ()
    untracked_tiers: tuple[PolicyLists, ...] = ()
    pre_dnat_tiers: tuple[PolicyLists, ...] = ()
    forward_tiers: tuple[PolicyLists, ...] = ()


class HostEndpointRemove(Message, frozen=True):
    name: str


# ---- network -----------------------------------------------------------------------------------------------


class HostMetadataUpdate(Message, frozen=True):
    """A node and its addresses without prefix length (empty when it has none of the family)."""

    hostname: str
    ipv4_address: str = ""
    ipv6_address: str = ""


class HostMetadataRemove(Message, frozen=True):
    hostname: str


class IPPoolUpdate(Message, frozen=True):
    """Modes are empty, ``Always`` or ``CrossSubnet``."""

    cidr: str
    nat_outgoing: bool
    ipip_mode: str = ""
    vxlan_mode: str = ""


class IPPoolRemove(Message, frozen=True):
    cidr: str


class RouteType(Enum):
    CIDR_INFO = "CIDR_INFO"
    REMOTE_WORKLOAD = "REMOTE_WORKLOAD"
    REMOTE_HOST = "REMOTE_HOST"
    LOCAL_WORKLOAD = "LOCAL_WORKLOAD"
    LOCAL_HOST = "LOCAL_HOST"
    REMOTE_TUNNEL = "REMOTE_TUNNEL"
    LOCAL_TUNNEL = "LOCAL_TUNNEL"


class PoolType(Enum):
    NONE = "NONE"
    NO_ENCAP = "NO_ENCAP"
    VXLAN = "VXLAN"
    IPIP = "IPIP"


class RouteUpdate(Message, frozen=True):
    """Where a CIDR of the cluster lives.

    ``local_workload`` marks a local endpoint's own address; ``tunnel_types`` holds ipip, vxlan, wireguard where the
    address is such a tunnel's.
    """

    dst: str
    type: RouteType
    pool_type: PoolType = PoolType.NONE
    dst_node_name: str = ""
    dst_node_ip: str = ""
    same_subnet: bool = False
    nat_outgoing: bool = False
    local_workload: bool = False
    tunnel_types: frozenset[str] = frozenset()


class RouteRemove(Message, frozen=True):
    dst: str


class VTEPUpdate(Message, frozen=True):
    """A node's VXLAN tunnel end; the ``*_v6`` parts are empty where the node has none."""

    node: str
    mac: str = ""
    ipv4_address: str = ""
    parent_ipv4: str = ""
    mac_v6: str = ""
    ipv6_address: str = ""
    parent_ipv6: str = ""


class VTEPRemove(Message, frozen=True):
    node: str


class WireguardEndpointUpdate(Message, frozen=True):
    hostname: str
    public_key: str = ""
    interface_ipv4: str = ""
    public_key_v6: str = ""
    interface_ipv6: str = ""


class WireguardEndpointRemove(Message, frozen=True):
    hostname: str


class ServiceCIDRsUpdate(Message, frozen=True):
    """Service ranges of the default BGPConfiguration: cluster, external and load balancer CIDRs."""

    cidrs: tuple[str, ...] = ()


class Encapsulation(Message, frozen=True):
    """Which overlays the pools ask for; a change after start restarts Felix."""

    ipip: bool = False
    vxlan: bool = False
    vxlan_v6: bool = False


class ConfigUpdate(Message, frozen=True):
    """Raw Felix parameters by source: ``global``, ``per-host``; names and values as strings."""

    global_params: dict[str, str]
    host_params: dict[str, str]


class ReadyFlag(Message, frozen=True):
    """ClusterInformation.datastoreReady."""

    ready: bool


class InSync(Message, frozen=True):
    """All that existed at the start has been said."""
