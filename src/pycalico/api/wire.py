"""How a Python attribute is spelled on the wire.

Attributes are snake_case (``disable_bgp_export``); Calico writes camelCase with capital acronyms
(``disableBGPExport``). One rule covers all kinds, so that no field needs its wire name spelled out.
"""

from __future__ import annotations

from typing import Any

import msgspec

#: Words that are not simply capitalised inside a wire name (the first word is always lower case).
_ACRONYMS = {
    "as": "AS", "asn": "ASN", "bgp": "BGP", "bpf": "BPF", "cidr": "CIDR", "cidrs": "CIDRs", "ctlb": "CTLB",
    "dnat": "DNAT", "dsr": "DSR", "gro": "GRO", "guid": "GUID", "icmp": "ICMP", "id": "ID", "ip": "IP",
    "ipip": "IPIP", "ips": "IPs", "ipv4": "IPv4", "ipv6": "IPv6", "l3": "L3", "mac": "MAC", "mtu": "MTU",
    "mtuv6": "MTUV6", "nat": "NAT", "nats": "NATs", "psnat": "PSNAT", "rpf": "RPF", "ttl": "TTL", "vni": "VNI",
    "vxlan": "VXLAN", "xdp": "XDP",
}  # fmt: skip


def wire_name(attribute: str) -> str:
    """``disable_bgp_export`` → ``disableBGPExport``."""
    first, *rest = attribute.split("_")
    return first + "".join(_ACRONYMS.get(word, word.capitalize()) for word in rest)


class Struct(msgspec.Struct, kw_only=True, omit_defaults=True, rename=wire_name):
    """Base of all parts of a resource.

    A field with a plain default is left out of the wire form when it holds that default (Go's ``omitempty``).
    A field that upstream always writes has a ``default_factory`` instead: msgspec then never leaves it out,
    and an object that lacks it still decodes.
    """


def kept_list() -> list[Any]:
    """A default_factory for a list that is written even when empty (msgspec leaves out an empty ``list``)."""
    return []


def kept_dict() -> dict[str, Any]:
    """The same for a map."""
    return {}
