"""Why a session is not up, as far as BIRD's words tell, and what to do about it. Pure."""

from __future__ import annotations

#: What BIRD says (part of it, lower case) → the likely cause. ``{peer}``, ``{own}`` are the two addresses.
_CAUSES: tuple[tuple[str, str], ...] = (
    (
        "connection refused",
        "{peer} is up and nothing listens there: its BIRD is not running, or listens on another port",
    ),
    (
        "no route to host",
        "{peer} does not answer on its network, or a firewall refuses TCP 179: is the node up, the link, the route?",
    ),
    ("network is unreachable", "this node has no route to {peer}: see `ip route get {peer}`"),
    (
        "cannot assign requested address",
        "the session's source address {own} is on no interface here: correct the Node's, or IP_AUTODETECTION_METHOD",
    ),
    (
        "invalid argument",
        "the session's source address {own} cannot reach {peer}: is it an address of this node's?",
    ),
    ("connection timed out", "nothing comes back from {peer}: TCP 179 is filtered, or the passwords differ"),
    ("connection reset", "{peer} cut the connection: does it know this node under the address {own}?"),
    ("connection closed", "{peer} closed the connection: does it know this node under the address {own}?"),
    ("bad peer as", "the two sides do not agree on the AS number: compare `asNumber` here and at {peer}"),
    ("bad bgp identifier", "both sides have the same router id: see CALICO_ROUTER_ID"),
    ("unacceptable hold time", "{peer} does not accept the hold time of 240 s"),
    ("connection collision", "both sides connected at once; one connection goes on"),
    ("connection rejected", "{peer} has no session with {own} in its configuration"),
    ("hold timer expired", "nothing was heard for the hold time: the link, or the BIRD of {peer}, hangs"),
    ("administrative shutdown", "BIRD was stopped at {peer}"),
    ("peer de-configured", "{peer} has taken this session out of its configuration"),
    ("peer deconfigured", "{peer} has taken this session out of its configuration"),
    ("administrative reset", "the session was restarted at {peer}"),
    ("route limit", "more routes than the session allows"),
    ("link down", "the interface towards {peer} is down"),
    ("neighbor lost", "{peer} is no longer on a network of this node"),
    ("invalid next hop", "no route to the next hop"),
    ("i/o error", "the connection broke"),
    ("kernel md5 auth failed", "this kernel takes no TCP MD5 key (CONFIG_TCP_MD5SIG)"),
    ("md5", "this kernel takes no TCP MD5 key for {peer} (CONFIG_TCP_MD5SIG)"),
)
_STATES = {
    "idle": "the session is waiting before it tries again",
    "connect": "no answer from {peer} yet: TCP 179 is filtered on the way, the node is down, or the passwords differ",
    "active": "waiting before the next attempt, or for {peer} to connect",
    "passive": "it is up to {peer} to connect (the node with the smaller address does): look there, too",
    "opensent": "connected, and {peer} does not say OPEN: is it BGP that listens there?",
    "openconfirm": "OPENs are exchanged; {peer} has not confirmed",
}


def likely_cause(state: str, last_error: str, peer: str, own: str) -> str:
    """One sentence; "" when nothing can be told. ``last_error`` is BIRD's, such as ``Socket: Connection refused``."""
    said = last_error.lower()
    for words, cause in _CAUSES:
        if words in said:
            return cause.format(peer=peer, own=own or "of this node")
    return _STATES.get(state.lower(), "").format(peer=peer, own=own)
