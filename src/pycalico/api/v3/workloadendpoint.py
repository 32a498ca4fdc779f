from __future__ import annotations

import msgspec

from pycalico.api.meta import Resource, kind_field
from pycalico.api.rule import Protocol
from pycalico.api.wire import Struct


class WorkloadEndpointPort(Struct):
    name: str = msgspec.field(default_factory=str)
    protocol: Protocol = msgspec.field(default_factory=int)
    port: int = msgspec.field(default_factory=int)
    host_port: int = msgspec.field(default_factory=int)
    host_ip: str = msgspec.field(default_factory=str)


class IPNAT(Struct):
    internal_ip: str = msgspec.field(default_factory=str)
    external_ip: str = msgspec.field(default_factory=str)


class WorkloadEndpointSpec(Struct):
    """``ip_networks`` are single addresses in CIDR form; ``interface_name`` is the host's end of the pair."""

    orchestrator: str = ""
    workload: str = ""
    node: str = ""
    container_id: str = ""
    pod: str = ""
    endpoint: str = ""
    service_account_name: str = ""
    ip_networks: list[str] = []
    ip_nats: list[IPNAT] = []
    ipv4_gateway: str = msgspec.field(default="", name="ipv4Gateway")
    ipv6_gateway: str = msgspec.field(default="", name="ipv6Gateway")
    profiles: list[str] = []
    interface_name: str = ""
    mac: str = ""
    ports: list[WorkloadEndpointPort] = []
    allow_spoofed_source_prefixes: list[str] = []


class WorkloadEndpoint(Resource):
    kind: str = kind_field("WorkloadEndpoint")
    spec: WorkloadEndpointSpec = msgspec.field(default_factory=WorkloadEndpointSpec)
