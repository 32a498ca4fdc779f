from __future__ import annotations

import msgspec

from pycalico.api.meta import Resource, kind_field
from pycalico.api.wire import Struct


class BGPFilterRule(Struct):
    """``match_operator`` is Equal, NotEqual, In or NotIn; ``source`` RemotePeers; ``action`` Accept or Reject."""

    cidr: str = ""
    source: str = ""
    interface: str = ""
    match_operator: str = ""
    action: str = msgspec.field(default_factory=str)


class BGPFilterSpec(Struct):
    export_v4: list[BGPFilterRule] = []
    import_v4: list[BGPFilterRule] = []
    export_v6: list[BGPFilterRule] = []
    import_v6: list[BGPFilterRule] = []


class BGPFilter(Resource):
    kind: str = kind_field("BGPFilter")
    spec: BGPFilterSpec = msgspec.field(default_factory=BGPFilterSpec)
