"""Kubernetes core objects, only the parts that Calico reads."""

from __future__ import annotations

import msgspec

from pycalico.api.meta import ObjectMeta


class Core(msgspec.Struct, kw_only=True, rename="camel"):
    metadata: ObjectMeta = msgspec.field(default_factory=ObjectMeta)


class ContainerPort(msgspec.Struct, rename="camel"):
    name: str = ""
    container_port: int = 0
    host_port: int = 0
    host_ip: str = msgspec.field(default="", name="hostIP")
    protocol: str = ""


class Container(msgspec.Struct):
    ports: list[ContainerPort] | None = []


class PodSpec(msgspec.Struct, rename="camel"):
    node_name: str = ""
    host_network: bool = False
    service_account_name: str = ""
    containers: list[Container] | None = []


class PodIP(msgspec.Struct):
    ip: str = ""


class PodStatus(msgspec.Struct, rename="camel"):
    phase: str = ""
    pod_ip: str = msgspec.field(default="", name="podIP")
    pod_ips: list[PodIP] | None = msgspec.field(default_factory=list, name="podIPs")


class Pod(Core):
    spec: PodSpec = msgspec.field(default_factory=PodSpec)
    status: PodStatus = msgspec.field(default_factory=PodStatus)


class NodeSpec(msgspec.Struct, rename="camel"):
    pod_cidr: str = msgspec.field(default="", name="podCIDR")
    pod_cidrs: list[str] | None = msgspec.field(default_factory=list, name="podCIDRs")


class Address(msgspec.Struct):
    type: str = ""
    address: str = ""


class NodeStatus(msgspec.Struct):
    addresses: list[Address] | None = []


class Node(Core):
    spec: NodeSpec = msgspec.field(default_factory=NodeSpec)
    status: NodeStatus = msgspec.field(default_factory=NodeStatus)


class Namespace(Core):
    pass


class ServiceAccount(Core):
    pass


class LabelSelectorRequirement(msgspec.Struct):
    key: str = ""
    operator: str = ""
    values: list[str] | None = []


class LabelSelector(msgspec.Struct, rename="camel"):
    match_labels: dict[str, str] | None = {}
    match_expressions: list[LabelSelectorRequirement] | None = []


class IPBlock(msgspec.Struct):
    cidr: str = ""
    except_: list[str] | None = msgspec.field(default_factory=list, name="except")


class PolicyPeer(msgspec.Struct, rename="camel"):
    pod_selector: LabelSelector | None = None
    namespace_selector: LabelSelector | None = None
    ip_block: IPBlock | None = None


class PolicyPort(msgspec.Struct, rename="camel"):
    protocol: str | None = None
    port: int | str | None = None
    end_port: int | None = None


class IngressRule(msgspec.Struct):
    from_: list[PolicyPeer] | None = msgspec.field(default_factory=list, name="from")
    ports: list[PolicyPort] | None = []


class EgressRule(msgspec.Struct):
    to: list[PolicyPeer] | None = []
    ports: list[PolicyPort] | None = []


class NetworkPolicySpec(msgspec.Struct, rename="camel"):
    pod_selector: LabelSelector = msgspec.field(default_factory=LabelSelector)
    ingress: list[IngressRule] | None = []
    egress: list[EgressRule] | None = []
    policy_types: list[str] | None = []


class NetworkPolicy(Core):
    spec: NetworkPolicySpec = msgspec.field(default_factory=NetworkPolicySpec)
