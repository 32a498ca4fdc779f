from __future__ import annotations

import msgspec

from pycalico.api.meta import Resource, kind_field
from pycalico.api.rule import Rule
from pycalico.api.wire import Struct


class NetworkPolicySpec(Struct):
    """``order`` None sorts after every number; ``types`` holds Ingress, Egress or both."""

    order: float | None = None
    ingress: list[Rule] = []
    egress: list[Rule] = []
    selector: str = ""
    types: list[str] = []
    service_account_selector: str = ""
    performance_hints: list[str] = []


class NetworkPolicy(Resource):
    kind: str = kind_field("NetworkPolicy")
    spec: NetworkPolicySpec = msgspec.field(default_factory=NetworkPolicySpec)


class GlobalNetworkPolicySpec(Struct):
    order: float | None = None
    ingress: list[Rule] = []
    egress: list[Rule] = []
    selector: str = ""
    types: list[str] = []
    do_not_track: bool = False
    pre_dnat: bool = False
    apply_on_forward: bool = False
    service_account_selector: str = ""
    namespace_selector: str = ""
    performance_hints: list[str] = []


class GlobalNetworkPolicy(Resource):
    kind: str = kind_field("GlobalNetworkPolicy")
    spec: GlobalNetworkPolicySpec = msgspec.field(default_factory=GlobalNetworkPolicySpec)


class KubernetesNetworkPolicy(NetworkPolicy):
    """A networking.k8s.io NetworkPolicy converted to Calico's form; internal, list and watch only."""

    kind: str = kind_field("KubernetesNetworkPolicy")
