from __future__ import annotations

import msgspec

from pycalico.api.meta import Resource, kind_field
from pycalico.api.rule import Rule
from pycalico.api.wire import Struct


class ProfileSpec(Struct):
    ingress: list[Rule] = []
    egress: list[Rule] = []
    labels_to_apply: dict[str, str] = {}


class Profile(Resource):
    kind: str = kind_field("Profile")
    spec: ProfileSpec = msgspec.field(default_factory=ProfileSpec)
