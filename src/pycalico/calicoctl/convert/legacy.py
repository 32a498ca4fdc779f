"""The resources of Calico v1 (``apiVersion: v1``), as far as manifests hold them. Source: Calico v3.28.1."""

from __future__ import annotations

import msgspec

from pycalico.api.rule import ICMPFields, Port, Protocol
from pycalico.api.wire import Struct


class Entity(Struct):
    tag: str = ""
    net: str = ""
    nets: list[str] = []
    selector: str = ""
    ports: list[Port] = []
    not_tag: str = ""
    not_net: str = ""
    not_nets: list[str] = []
    not_selector: str = ""
    not_ports: list[Port] = []


class LegacyRule(Struct):
    """``action`` is allow, deny, log or pass."""

    action: str = ""
    ip_version: int | None = None
    protocol: Protocol | None = None
    icmp: ICMPFields | None = None
    not_protocol: Protocol | None = None
    not_icmp: ICMPFields | None = None
    source: Entity = msgspec.field(default_factory=Entity)
    destination: Entity = msgspec.field(default_factory=Entity)


class LegacyPort(Struct):
    name: str = ""
    protocol: Protocol = ""
    port: int = 0


class _Object(Struct):
    kind: str = ""
    api_version: str = ""


class PeerMetadata(Struct):
    scope: str = ""
    node: str = ""
    peer_ip: str = ""


class PeerSpec(Struct):
    as_number: int | str = 0


class Peer(_Object):
    metadata: PeerMetadata = msgspec.field(default_factory=PeerMetadata)
    spec: PeerSpec = msgspec.field(default_factory=PeerSpec)


class HostMetadata(Struct):
    name: str = ""
    node: str = ""
    labels: dict[str, str] = {}


class HostSpec(Struct):
    interface_name: str = ""
    expected_ips: list[str] = []
    profiles: list[str] = []
    ports: list[LegacyPort] = []


class Host(_Object):
    metadata: HostMetadata = msgspec.field(default_factory=HostMetadata)
    spec: HostSpec = msgspec.field(default_factory=HostSpec)


class PoolMetadata(Struct):
    cidr: str = ""


class PoolIPIP(Struct):
    enabled: bool = False
    mode: str = ""


class PoolSpec(Struct):
    ipip: PoolIPIP | None = None
    nat_outgoing: bool = msgspec.field(default=False, name="nat-outgoing")
    disabled: bool = False


class Pool(_Object):
    metadata: PoolMetadata = msgspec.field(default_factory=PoolMetadata)
    spec: PoolSpec = msgspec.field(default_factory=PoolSpec)


class NodeMetadata(Struct):
    name: str = ""


class NodeReference(Struct):
    node_name: str = ""
    orchestrator: str = ""


class NodeBGP(Struct):
    as_number: int | str | None = None
    ipv4_address: str = ""
    ipv6_address: str = ""


class LegacyNodeSpec(Struct):
    bgp: NodeBGP | None = None
    orch_refs: list[NodeReference] = []


class LegacyNode(_Object):
    metadata: NodeMetadata = msgspec.field(default_factory=NodeMetadata)
    spec: LegacyNodeSpec = msgspec.field(default_factory=LegacyNodeSpec)


class PolicyMetadata(Struct):
    name: str = ""
    annotations: dict[str, str] = {}


class PolicySpec(Struct):
    order: float | None = None
    ingress: list[LegacyRule] = []
    egress: list[LegacyRule] = []
    selector: str = ""
    do_not_track: bool = False
    pre_dnat: bool = False
    types: list[str] = []


class Policy(_Object):
    metadata: PolicyMetadata = msgspec.field(default_factory=PolicyMetadata)
    spec: PolicySpec = msgspec.field(default_factory=PolicySpec)


class ProfileMetadata(Struct):
    name: str = ""
    tags: list[str] = []
    labels: dict[str, str] = {}


class LegacyProfileSpec(Struct):
    ingress: list[LegacyRule] = []
    egress: list[LegacyRule] = []


class LegacyProfile(_Object):
    metadata: ProfileMetadata = msgspec.field(default_factory=ProfileMetadata)
    spec: LegacyProfileSpec = msgspec.field(default_factory=LegacyProfileSpec)


class WorkloadMetadata(Struct):
    name: str = ""
    workload: str = ""
    orchestrator: str = ""
    node: str = ""
    active_instance_id: str = ""
    labels: dict[str, str] = {}


class WorkloadNAT(Struct):
    internal_ip: str = ""
    external_ip: str = ""


class WorkloadSpec(Struct):
    ip_networks: list[str] = []
    ip_nats: list[WorkloadNAT] = []
    ipv4_gateway: str = msgspec.field(default="", name="ipv4Gateway")
    ipv6_gateway: str = msgspec.field(default="", name="ipv6Gateway")
    profiles: list[str] = []
    interface_name: str = ""
    mac: str = ""
    ports: list[LegacyPort] = []
    allow_spoofed_source_prefixes: list[str] = msgspec.field(
        default_factory=list, name="allow_spoofed_source_prefixes"
    )


class Workload(_Object):
    metadata: WorkloadMetadata = msgspec.field(default_factory=WorkloadMetadata)
    spec: WorkloadSpec = msgspec.field(default_factory=WorkloadSpec)


Legacy = Peer | Host | Pool | LegacyNode | Policy | LegacyProfile | Workload

#: By ``kind``; letter case counts.
KINDS: dict[str, type[Legacy]] = {
    "bgpPeer": Peer,
    "hostEndpoint": Host,
    "ipPool": Pool,
    "node": LegacyNode,
    "policy": Policy,
    "profile": LegacyProfile,
    "workloadEndpoint": Workload,
}
