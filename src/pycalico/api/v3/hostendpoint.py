from __future__ import annotations

import msgspec

from pycalico.api.meta import Resource, kind_field
from pycalico.api.rule import Protocol
from pycalico.api.wire import Struct


class EndpointPort(Struct):
    name: str = msgspec.field(default_factory=str)
    protocol: Protocol = msgspec.field(default_factory=int)
    port: int = msgspec.field(default_factory=int)


class HostEndpointSpec(Struct):
    """``interface_name`` is one interface, or ``*`` for all of the host's."""

    node: str = ""
    interface_name: str = ""
    expected_ips: list[str] = []
    profiles: list[str] = []
    ports: list[EndpointPort] = []


class HostEndpoint(Resource):
    kind: str = kind_field("HostEndpoint")
    spec: HostEndpointSpec = msgspec.field(default_factory=HostEndpointSpec)
