"""Kubernetes objects that Felix and confd consume unchanged: only the parts they use, internal, list and watch only."""

from __future__ import annotations

import msgspec

from pycalico.api.meta import Resource, kind_field
from pycalico.api.wire import Struct


class ServicePort(Struct):
    name: str = ""
    protocol: str = ""
    port: int = 0
    target_port: int | str | None = None
    node_port: int = 0


class ServiceSpec(Struct):
    type: str = ""
    cluster_ip: str = msgspec.field(default="", name="clusterIP")
    cluster_ips: list[str] = msgspec.field(default_factory=list, name="clusterIPs")
    external_ips: list[str] = msgspec.field(default_factory=list, name="externalIPs")
    external_traffic_policy: str = ""
    load_balancer_ip: str = msgspec.field(default="", name="loadBalancerIP")
    ports: list[ServicePort] = []


class LoadBalancerIngress(Struct):
    ip: str = ""
    hostname: str = ""


class LoadBalancerStatus(Struct):
    ingress: list[LoadBalancerIngress] = []


class ServiceStatus(Struct):
    load_balancer: LoadBalancerStatus = msgspec.field(default_factory=LoadBalancerStatus)


class KubernetesService(Resource):
    kind: str = kind_field("KubernetesService")
    spec: ServiceSpec = msgspec.field(default_factory=ServiceSpec)
    status: ServiceStatus = msgspec.field(default_factory=ServiceStatus)


class EndpointConditions(Struct):
    ready: bool | None = None
    serving: bool | None = None
    terminating: bool | None = None


class SliceEndpoint(Struct):
    addresses: list[str] = []
    conditions: EndpointConditions = msgspec.field(default_factory=EndpointConditions)
    node_name: str | None = None


class SlicePort(Struct):
    name: str | None = None
    protocol: str | None = None
    port: int | None = None


class KubernetesEndpointSlice(Resource):
    kind: str = kind_field("KubernetesEndpointSlice")
    address_type: str = ""
    endpoints: list[SliceEndpoint] = []
    ports: list[SlicePort] = []
