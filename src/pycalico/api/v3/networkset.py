from __future__ import annotations

import msgspec

from pycalico.api.meta import Resource, kind_field
from pycalico.api.wire import Struct


class NetworkSetSpec(Struct):
    nets: list[str] = []


class NetworkSet(Resource):
    kind: str = kind_field("NetworkSet")
    spec: NetworkSetSpec = msgspec.field(default_factory=NetworkSetSpec)


class GlobalNetworkSet(Resource):
    kind: str = kind_field("GlobalNetworkSet")
    spec: NetworkSetSpec = msgspec.field(default_factory=NetworkSetSpec)
