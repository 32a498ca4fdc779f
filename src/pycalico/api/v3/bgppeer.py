from __future__ import annotations

import msgspec

from pycalico.api.meta import Resource, kind_field
from pycalico.api.wire import Struct


class SecretKeySelector(Struct):
    name: str = ""
    key: str = msgspec.field(default_factory=str)
    optional: bool | None = None


class BGPPassword(Struct):
    secret_key_ref: SecretKeySelector | None = None


class BGPPeerSpec(Struct):
    """``source_address`` is UseNodeIP or None; ``ttl_security`` counts hops; ``max_restart_time`` is a Go duration."""

    node: str = ""
    node_selector: str = ""
    peer_ip: str = ""
    as_number: int | str = 0
    peer_selector: str = ""
    keep_original_next_hop: bool = False
    password: BGPPassword | None = None
    source_address: str = ""
    max_restart_time: str | None = None
    num_allowed_local_as_numbers: int | None = msgspec.field(default=None, name="numAllowedLocalASNumbers")
    ttl_security: int | None = None
    reachable_by: str = ""
    filters: list[str] = []


class BGPPeer(Resource):
    kind: str = kind_field("BGPPeer")
    spec: BGPPeerSpec = msgspec.field(default_factory=BGPPeerSpec)
