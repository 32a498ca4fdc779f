"""``calico-node -show-status``: what this node's BIRDs say of themselves, as tables."""

from __future__ import annotations

from collections.abc import Sequence

from pycalico.bgp import birdctl
from pycalico.bgp.birdctl import BirdError, Peer
from pycalico.bgp.nodestatus import NONE, FamilyStatus, gather, peer_of, route_of

__all__ = ["gather", "route_of", "show"]


def show() -> int:
    """``calico-node -show-status``."""
    for family in (4, 6):
        try:
            found = _shown(family)
        except BirdError as error:
            for what in ("birdStatus", "bird BGP peers", "birdRoutes"):
                print(f"Error getting {what}: Error querying BIRD: {error}")
        else:
            _print(family, found)
        print("\n")
    return 0


def _shown(family: int) -> FamilyStatus:
    with birdctl.Control(family) as control:
        status = birdctl.parse_status(control.ask("show status"))
        peers = [
            (peer, birdctl.parse_protocol(control.ask(f"show protocols all {peer.name}")))
            for peer in birdctl.parse_peers(control.ask("show protocols"), family)
        ]
        return FamilyStatus(status, peers, birdctl.parse_routes(control.ask("show route")))


def _print(family: int, found: FamilyStatus) -> None:
    status = found.status
    print(f"\nbird v{family} status")
    print(
        grid(
            ("READY", "VERSION", "ROUTEID", "SERVERTIME", "LASTBOOT", "LASTRECONFIG"),
            [
                (
                    str(status.ready).lower(),
                    status.version,
                    status.router_id,
                    status.server_time,
                    status.last_boot,
                    status.last_reconfiguration,
                )
            ],
        )
    )
    print(f"\nbird v{family} BGP peers")
    rows = [(*_peer_row(peer, details),) for peer, details in found.peers]
    print(grid(("PEER ADDRESS", "PEER TYPE", "STATE", "SINCE", "BGPSTATE"), rows))
    print(f"\nbird v{family} routes")
    shown = [
        (r.destination, r.gateway or NONE, r.interface or r.target, r.protocol, str(r.primary).lower())
        for r in found.routes
    ]
    print(grid(("DESTINATION", "GATEWAY", "IFACE", "LEARNEDFROM", "PRIMARY"), shown))


def _peer_row(peer: Peer, details: dict[str, str]) -> tuple[str, str, str, str, str]:
    status = peer_of(peer, details)
    return status.peer_ip, status.type, peer.state, peer.since, status.state


def grid(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table of ``+``, ``-`` and ``|``, headings in the middle of their columns."""
    widths = [max(len(row[column]) for row in (headings, *rows)) for column in range(len(headings))]
    line = "+" + "+".join("-" * (width + 2) for width in widths) + "+"
    heading = "|" + "|".join(f" {text:^{width}} " for text, width in zip(headings, widths, strict=True)) + "|"
    body = [
        "|" + "|".join(f" {text:<{width}} " for text, width in zip(row, widths, strict=True)) + "|"
        for row in rows
    ]
    return "\n".join([line, heading, line, *body, line] if body else [line, heading, line])
