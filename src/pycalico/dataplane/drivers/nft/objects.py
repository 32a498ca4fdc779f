"""What is wished of a table, and what is seen of it."""

from __future__ import annotations

import msgspec

from pycalico.dataplane.drivers.nft.members import Cover, NativeSet
from pycalico.kernel import nftables
from pycalico.kernel.nftables import Hook

#: Upstream's name since v3.29, in both families.
TABLE = "calico"
CHAIN, MAP, SET = "chain", "map", "set"

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
    """Interface to the chain that its packets go to."""

    entries: dict[str, str]


Content = NativeChain | NativeMap | NativeSet


class SeenChain(msgspec.Struct):
    """``ids`` are empty text for others' rules. ``handles`` None: not known, to be read when needed."""

    ids: tuple[str, ...]
    hook: Hook | None
    handles: list[int] | None


class SeenMap(msgspec.Struct):
    entries: dict[str, str]
    of_interfaces: bool


class SeenSet(msgspec.Struct):
    """``elements`` only after a read, until compared; then the wish's own notes tell what differs."""

    layout: str
    cover: Cover
    elements: set[str] | None


Seen = SeenChain | SeenMap | SeenSet
