"""Names of the numbers in BGP messages (IANA's registries), in the words of the RFCs."""

from __future__ import annotations

CAPABILITIES = {
    1: "multiprotocol",
    2: "route refresh",
    5: "extended next hop",
    6: "extended message",
    9: "role",
    64: "graceful restart",
    65: "four-octet AS",
    67: "dynamic capability",
    69: "add path",
    70: "enhanced route refresh",
    71: "long-lived graceful restart",
    73: "FQDN",
    128: "route refresh (old)",
}
ADD_PATH = {1: "receive", 2: "send", 3: "send and receive"}
REFRESH = {0: "", 1: "begin", 2: "end"}
ORIGINS = {0: "IGP", 1: "EGP", 2: "incomplete"}
ATTRIBUTES = {
    1: "origin",
    2: "AS path",
    3: "next hop",
    4: "MED",
    5: "local pref",
    6: "atomic aggregate",
    7: "aggregator",
    8: "communities",
    9: "originator",
    10: "cluster list",
    14: "reachable",
    15: "unreachable",
    16: "extended communities",
    17: "AS4 path",
    18: "AS4 aggregator",
    26: "accumulated IGP metric",
    32: "large communities",
    35: "only to customer",
}
COMMUNITIES = {
    0xFFFF0000: "graceful-shutdown",
    0xFFFF0006: "llgr-stale",
    0xFFFF0007: "no-llgr",
    0xFFFF029A: "blackhole",
    0xFFFFFF01: "no-export",
    0xFFFFFF02: "no-advertise",
    0xFFFFFF03: "no-export-subconfed",
    0xFFFFFF04: "no-peer",
}
_AFI = {1: "IPv4", 2: "IPv6", 25: "L2VPN"}
_SAFI = {1: "unicast", 2: "multicast", 4: "labelled", 70: "EVPN", 128: "VPN", 133: "flowspec"}
_NOTIFICATIONS: dict[int, tuple[str, dict[int, str]]] = {
    1: ("Message header error", {1: "connection not synchronized", 2: "bad length", 3: "bad type"}),
    2: (
        "OPEN error",
        {
            1: "unsupported version",
            2: "bad peer AS",
            3: "bad BGP identifier",
            4: "unsupported optional parameter",
            6: "unacceptable hold time",
            7: "unsupported capability",
            11: "role mismatch",
        },
    ),
    3: (
        "UPDATE error",
        {
            1: "malformed attribute list",
            2: "unrecognized well-known attribute",
            3: "missing well-known attribute",
            4: "attribute flags",
            5: "attribute length",
            6: "invalid ORIGIN",
            8: "invalid NEXT_HOP",
            9: "optional attribute",
            10: "invalid network",
            11: "malformed AS_PATH",
        },
    ),
    4: ("Hold timer expired", {}),
    5: (
        "Message out of place",
        {1: "in OpenSent", 2: "in OpenConfirm", 3: "in Established"},
    ),
    6: (
        "Cease",
        {
            1: "too many prefixes",
            2: "administrative shutdown",
            3: "peer removed from the configuration",
            4: "administrative reset",
            5: "connection rejected",
            6: "other configuration change",
            7: "connection collision",
            8: "out of resources",
            9: "hard reset",
            10: "BFD down",
        },
    ),
    7: ("ROUTE-REFRESH error", {1: "invalid length"}),
}


def family(afi: int, safi: int) -> str:
    """``IPv4 unicast``."""
    return f"{_AFI.get(afi, f'AFI {afi}')} {_SAFI.get(safi, f'SAFI {safi}')}"


def notification(code: int, subcode: int) -> str:
    """``Cease: administrative shutdown``."""
    name, subcodes = _NOTIFICATIONS.get(code, (f"error {code}", {}))
    said = subcodes.get(subcode, f"subcode {subcode}" if subcode else "")
    return f"{name}: {said}" if said else name
