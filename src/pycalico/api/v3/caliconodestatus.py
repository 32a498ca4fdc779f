from __future__ import annotations

import msgspec

from pycalico.api.meta import Resource, kind_field
from pycalico.api.wire import Struct


class CalicoNodeStatusSpec(Struct):
    """``classes`` holds Agent, BGP, Routes; ``update_period_seconds`` 0 reports once per change of the spec."""

    node: str = ""
    classes: list[str] = []
    update_period_seconds: int | None = None


class BGPDaemonStatus(Struct):
    state: str = ""
    version: str = ""
    router_id: str = ""
    last_boot_time: str = ""
    last_reconfiguration_time: str = ""


class CalicoNodeAgentStatus(Struct):
    bird_v4: BGPDaemonStatus = msgspec.field(default_factory=BGPDaemonStatus)
    bird_v6: BGPDaemonStatus = msgspec.field(default_factory=BGPDaemonStatus)


class CalicoNodePeer(Struct):
    peer_ip: str = ""
    type: str = ""
    state: str = ""
    since: str = ""


class CalicoNodeBGPStatus(Struct):
    number_established_v4: int = msgspec.field(default_factory=int)
    number_not_established_v4: int = msgspec.field(default_factory=int)
    number_established_v6: int = msgspec.field(default_factory=int)
    number_not_established_v6: int = msgspec.field(default_factory=int)
    peers_v4: list[CalicoNodePeer] = []
    peers_v6: list[CalicoNodePeer] = []


class CalicoNodeRouteLearnedFrom(Struct):
    source_type: str = ""
    peer_ip: str = ""


class CalicoNodeRoute(Struct):
    type: str = ""
    destination: str = ""
    gateway: str = ""
    interface: str = ""
    learned_from: CalicoNodeRouteLearnedFrom = msgspec.field(default_factory=CalicoNodeRouteLearnedFrom)


class CalicoNodeBGPRouteStatus(Struct):
    routes_v4: list[CalicoNodeRoute] = []
    routes_v6: list[CalicoNodeRoute] = []


class CalicoNodeStatusStatus(Struct):
    last_updated: str | None = msgspec.field(default_factory=lambda: None)
    agent: CalicoNodeAgentStatus = msgspec.field(default_factory=CalicoNodeAgentStatus)
    bgp: CalicoNodeBGPStatus = msgspec.field(default_factory=CalicoNodeBGPStatus)
    routes: CalicoNodeBGPRouteStatus = msgspec.field(default_factory=CalicoNodeBGPRouteStatus)


class CalicoNodeStatus(Resource):
    kind: str = kind_field("CalicoNodeStatus")
    spec: CalicoNodeStatusSpec = msgspec.field(default_factory=CalicoNodeStatusSpec)
    status: CalicoNodeStatusStatus = msgspec.field(default_factory=CalicoNodeStatusStatus)
