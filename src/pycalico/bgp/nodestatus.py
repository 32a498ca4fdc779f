"""What this machine's BIRDs say of themselves, in the form of CalicoNodeStatus."""

from __future__ import annotations

import re
from collections.abc import Collection

import msgspec

from pycalico.api.v3.caliconodestatus import (
    BGPDaemonStatus,
    CalicoNodeAgentStatus,
    CalicoNodeBGPRouteStatus,
    CalicoNodeBGPStatus,
    CalicoNodePeer,
    CalicoNodeRoute,
    CalicoNodeRouteLearnedFrom,
    CalicoNodeStatusStatus,
)
from pycalico.bgp import birdctl
from pycalico.bgp.birdctl import Peer, Route, Unreachable

_PEER_TYPES = {"node-to-node mesh": "NodeMesh", "node specific": "NodePeer", "global": "GlobalPeer"}
_STATES = ("Idle", "Connect", "Active", "OpenSent", "OpenConfirm", "Established", "Close")
_PEER_PROTOCOL = re.compile(r"(Mesh|Node|Global)_(.+)")
_SOURCES = {"kernel": "Kernel", "static": "Static", "direct": "Direct"}
#: Stands where a route has no gateway.
NONE = "N/A"


class FamilyStatus(msgspec.Struct):
    """Of one BIRD: ``peers`` pairs each session with its ``show protocols all``."""

    status: birdctl.Status
    peers: list[tuple[Peer, dict[str, str]]]
    routes: list[Route]


def gather(classes: Collection[str]) -> CalicoNodeStatusStatus:
    """The status of both families. A BIRD that is not there is NotReady and knows nothing. Raises BirdError."""
    four, six = (_family(family, classes) for family in (4, 6))
    found = CalicoNodeStatusStatus()
    if "Agent" in classes:
        found.agent = CalicoNodeAgentStatus(bird_v4=_daemon(four.status), bird_v6=_daemon(six.status))
    if "BGP" in classes:
        up4, up6 = (sum(peer.established for peer, _ in family.peers) for family in (four, six))
        found.bgp = CalicoNodeBGPStatus(
            number_established_v4=up4,
            number_not_established_v4=len(four.peers) - up4,
            number_established_v6=up6,
            number_not_established_v6=len(six.peers) - up6,
            peers_v4=[peer_of(*pair) for pair in four.peers],
            peers_v6=[peer_of(*pair) for pair in six.peers],
        )
    if "Routes" in classes:
        found.routes = CalicoNodeBGPRouteStatus(
            routes_v4=[route_of(route, 4) for route in four.routes],
            routes_v6=[route_of(route, 6) for route in six.routes],
        )
    return found


def _family(family: int, classes: Collection[str]) -> FamilyStatus:
    found = FamilyStatus(birdctl.Status(), [], [])
    try:
        with birdctl.Control(family) as control:
            if "Agent" in classes:
                found.status = birdctl.parse_status(control.ask("show status"))
            if "BGP" in classes:
                for peer in birdctl.parse_peers(control.ask("show protocols"), family):
                    details = birdctl.parse_protocol(control.ask(f"show protocols all {peer.name}"))
                    found.peers.append((peer, details))
            if "Routes" in classes:
                found.routes = birdctl.parse_routes(control.ask("show route"))
    except Unreachable:
        return FamilyStatus(birdctl.Status(), [], [])
    return found


def _daemon(status: birdctl.Status) -> BGPDaemonStatus:
    return BGPDaemonStatus(
        state="Ready" if status.ready else "NotReady",
        version=status.version,
        router_id=status.router_id,
        last_boot_time=status.last_boot,
        last_reconfiguration_time=status.last_reconfiguration,
    )


def peer_of(peer: Peer, details: dict[str, str]) -> CalicoNodePeer:
    state = details.get("BGP state", "") or peer.info.split(" ")[0]
    return CalicoNodePeer(
        peer_ip=details.get("Neighbor address", "") or peer.address,
        type=_PEER_TYPES[peer.type],
        state=state if state in _STATES else "",
        since=peer.since,
    )


def route_of(route: Route, family: int) -> CalicoNodeRoute:
    """``blackhole`` and the like stand where an interface would."""
    return CalicoNodeRoute(
        type="FIB" if route.primary else "RIB",
        destination=route.destination,
        gateway=route.gateway or NONE,
        interface=route.interface or route.target,
        learned_from=_source(route.protocol, family),
    )


def _source(protocol: str, family: int) -> CalicoNodeRouteLearnedFrom:
    match = _PEER_PROTOCOL.fullmatch(protocol)
    if match:
        address = match[2].partition("_port_")[0].replace("_", "." if family == 4 else ":")
        return CalicoNodeRouteLearnedFrom(
            source_type="NodeMesh" if match[1] == "Mesh" else "BGPPeer", peer_ip=address
        )
    return CalicoNodeRouteLearnedFrom(source_type=_SOURCES.get(protocol.rstrip("0123456789"), ""))
