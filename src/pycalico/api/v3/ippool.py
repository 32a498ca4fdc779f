from __future__ import annotations

import msgspec

from pycalico.api.meta import Resource, kind_field
from pycalico.api.wire import Struct


class IPIPConfiguration(Struct):
    """Form of Calico v2, read only: folded into ``ipip_mode``."""

    enabled: bool = False
    mode: str = ""


class IPPoolSpec(Struct):
    """``block_size`` is the prefix length of the blocks; modes are Never, Always or CrossSubnet."""

    cidr: str = msgspec.field(default_factory=str)
    vxlan_mode: str = ""
    ipip_mode: str = ""
    nat_outgoing: bool = False
    disabled: bool = False
    disable_bgp_export: bool = False
    block_size: int = 0
    node_selector: str = ""
    ipip: IPIPConfiguration | None = None
    nat_outgoing_v1: bool = msgspec.field(default=False, name="nat-outgoing")
    allowed_uses: list[str] = []


class IPPool(Resource):
    kind: str = kind_field("IPPool")
    spec: IPPoolSpec = msgspec.field(default_factory=IPPoolSpec)
