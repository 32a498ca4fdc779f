"""What is wished of a table, and what is seen of it."""

from __future__ import annotations

import struct

import msgspec

from pycalico.dataplane.drivers.nft.members import Cover, NativeSet
from pycalico.kernel import nftables
from pycalico.kernel.nftables import Hook, SetKey

#: Upstream's name since v3.29, in both families.
TABLE = "calico"
CHAIN, MAP, SET = "chain", "map", "set"
INTERFACES, PORTS = "interfaces", "ports"

#: Base chains by iptables' table and chain. Priorities are upstream's: kube-proxy's chains stand at -110, -100 and 100.
HOOKS = {
    "raw-PREROUTING": Hook("filter", nftables.PREROUTING, -300),
    "raw-OUTPUT": Hook("filter", nftables.OUTPUT, -300),
    "mangle-PREROUTING": Hook("filter", nftables.PREROUTING, -150),
    "mangle-POSTROUTING": Hook("filter", nftables.POSTROUTING, -150),
    "nat-PREROUTING": Hook("nat", nftables.PREROUTING, -100),
    "nat-OUTPUT": Hook("nat", nftables.OUTPUT, -100),
    "nat-POSTROUTING": Hook("nat", nftables.POSTROUTING, 110),
    "filter-INPUT": Hook("filter", nftables.INPUT, 0),
    "filter-FORWARD": Hook("filter", nftables.FORWARD, 0),
    "filter-OUTPUT": Hook("filter", nftables.OUTPUT, 0),
}


class NativeChain(msgspec.Struct, frozen=True):
    """``rules`` as text, ``ids`` of each; a base chain has a ``hook``."""

    rules: tuple[str, ...]
    ids: tuple[str, ...]
    hook: Hook | None = None


class NativeMap(msgspec.Struct, frozen=True):
    """What is looked up to the chain that its packets go to.

    Keys are names of interfaces, or ``<protocol's number>:<port>`` where the map is ``of`` ports.
    """

    entries: dict[str, str]
    of: str = INTERFACES


MAP_KEYS = {
    INTERFACES: SetKey((nftables.INTERFACE,)),
    PORTS: SetKey((nftables.PROTOCOL, nftables.SERVICE)),
}


def map_key(of: str, text: str) -> bytes:
    if of == INTERFACES:
        return text.encode().ljust(16, b"\0")
    protocol, _, port = text.partition(":")
    return struct.pack(">B3xH2x", int(protocol), int(port))


def map_text(of: str, key: bytes) -> str:
    if of == INTERFACES:
        return key.rstrip(b"\0").decode(errors="replace")
    protocol, port = struct.unpack(">B3xH2x", key)
    return f"{protocol}:{port}"


Content = NativeChain | NativeMap | NativeSet


class SeenChain(msgspec.Struct):
    """``ids`` are empty text for others' rules. ``handles`` None: not known, to be read when needed."""

    ids: tuple[str, ...]
    hook: Hook | None
    handles: list[int] | None


class SeenMap(msgspec.Struct):
    """``of`` is empty for a map that is not of our making."""

    entries: dict[str, str]
    of: str


class SeenSet(msgspec.Struct):
    """``elements`` only after a read, until compared; then the wish's own notes tell what differs."""

    layout: str
    cover: Cover
    elements: set[str] | None


Seen = SeenChain | SeenMap | SeenSet
