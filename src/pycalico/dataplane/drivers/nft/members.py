"""Members of IP sets as elements of nf_tables, one change at a time. Pure.

Members are spelled as ipset has them (`drivers.ipsets.canonical`). A set of nets may hold one net within another;
nf_tables takes no overlapping intervals, so only nets that lie in no other one are elements.
"""

from __future__ import annotations

import ipaddress
import socket
import struct
from collections.abc import Iterable, Iterator

import msgspec

from pycalico.dataplane.drivers.nft.compiler import interval
from pycalico.kernel import nftables
from pycalico.kernel.nftables import SetKey

_PROTOCOLS = {"tcp": 6, "udp": 17, "sctp": 132}
_SOCKET = {4: socket.AF_INET, 6: socket.AF_INET6}
_BITS = {4: 32, 6: 128}
#: How the kernel holds a set: by hash of addresses (0.13 ms for a change), as a tree of intervals (10 ms where it has
#: 50,000 members, as the kernel walks them all), or by hash of address, protocol and port.
ADDRESS, NET, PORT = "address", "net", "port"
_LAYOUTS = {"hash:net": (ADDRESS, NET), "hash:ip": (ADDRESS,), "hash:ip,port": (PORT,)}


def layout_for(set_type: str, *, has_nets: bool) -> str:
    """Intervals only where a member is no whole address. Raises ValueError for a type that policies do not use."""
    if set_type not in _LAYOUTS:
        raise ValueError(f"IP sets of type {set_type} are not known")
    return _LAYOUTS[set_type][-1 if has_nets else 0]


def fits(set_type: str, layout: str, *, has_nets: bool) -> bool:
    """Whether a set of this layout can hold the members; one of intervals holds whole addresses as well."""
    return layout in _LAYOUTS.get(set_type, ()) and (layout != ADDRESS or not has_nets)


def key_of(family: int, layout: str) -> SetKey:
    address = nftables.IPV4 if family == 4 else nftables.IPV6
    if layout == PORT:
        return SetKey((address, nftables.PROTOCOL, nftables.SERVICE))
    return SetKey((address,), interval=layout == NET)


def layout_of(family: int, key_type: int, *, interval: bool) -> str:
    """Of a set with this key; empty for one that is not of our making."""
    for layout in (ADDRESS, NET, PORT):
        key = key_of(family, layout)
        if key.type == key_type and key.interval == interval:
            return layout
    return ""


def has_nets(members: Iterable[str]) -> bool:
    return any("/" in member for member in members)


def elements(family: int, layout: str, member: str) -> list[bytes]:
    """The elements of one member. Raises ValueError for what is no member."""
    if layout == PORT:
        return [nftables.element(_port_key(family, member))]
    if "/" in member:
        net = ipaddress.ip_network(member)
        return interval(net.network_address.packed, net.broadcast_address.packed)
    address = _packed(family, member)
    return [nftables.element(address)] if layout == ADDRESS else interval(address, address)


def _packed(family: int, address: str) -> bytes:
    try:
        return socket.inet_pton(_SOCKET[family], address)
    except OSError:
        raise ValueError(f"{address!r} is no address") from None


def _port_key(family: int, member: str) -> bytes:
    address, _, rest = member.partition(",")
    protocol, _, port = rest.partition(":")
    number = _PROTOCOLS.get(protocol)
    number = int(protocol) if number is None else number
    return _packed(family, address) + struct.pack(">B3xH2x", number, int(port))


def parse(family: int, layout: str, seen: Iterable[tuple[bytes, bool, str]]) -> set[str]:
    """The members that elements in the kernel stand for; an interval that is no net is given as ``first-last``."""
    if layout == PORT:
        return {_port_member(family, key) for key, _, _ in seen}
    if layout == ADDRESS:
        return {socket.inet_ntop(_SOCKET[family], key) for key, _, _ in seen}
    ordered = sorted((key, not ends) for key, ends, _ in seen)
    found: set[str] = set()
    first: bytes | None = None
    for key, starts in ordered:
        if starts:
            if first is not None:
                found.add(_net(family, first, key))
            first = key
        elif first is not None:
            found.add(_net(family, first, key))
            first = None
    if first is not None:
        found.add(_net(family, first, None))
    return found


def _net(family: int, first: bytes, behind: bytes | None) -> str:
    start = int.from_bytes(first, "big")
    bits = _BITS[family]
    size = (int.from_bytes(behind, "big") if behind is not None else 1 << bits) - start
    text = socket.inet_ntop(_SOCKET[family], first)
    if size == 1:
        return text
    if size & (size - 1) or start % size:
        return f"{text}-{size}"
    return f"{text}/{bits - size.bit_length() + 1}"


def _port_member(family: int, key: bytes) -> str:
    length = _BITS[family] // 8
    number, port = struct.unpack_from(">B3xH", key, length)
    name = next((name for name, value in _PROTOCOLS.items() if value == number), str(number))
    return f"{socket.inet_ntop(_SOCKET[family], key[:length])},{name}:{port}"


class Cover:
    """Which members of a set of nets are elements: those that lie in no other member.

    Costs nothing while all members are whole addresses, which nearly all are.
    """

    def __init__(self, family: int) -> None:
        self._bits = _BITS[family]
        self._nets: dict[int, set[int]] = {}
        """Nets that are no whole addresses, by length, as their number without the host's bits."""

    def load(self, members: Iterable[str]) -> None:
        self._nets = {}
        for member in members:
            if "/" in member:
                length, number = self._number(member)
                self._nets.setdefault(length, set()).add(number)

    def _number(self, member: str) -> tuple[int, int]:
        address, _, length = member.partition("/")
        bits = int(length) if length else self._bits
        return bits, int(ipaddress.ip_address(address)) >> (self._bits - bits)

    def is_covered(self, member: str) -> bool:
        """Lies within a net that is another member."""
        if not self._nets:
            return False
        bits, number = self._number(member)
        return any(
            length < bits and number >> (bits - length) in numbers for length, numbers in self._nets.items()
        )

    def top(self, members: Iterable[str]) -> set[str]:
        return {member for member in members if not self.is_covered(member)}

    def changes(self, members: set[str], added: Iterable[str], removed: Iterable[str]) -> dict[str, bool]:
        """Elements to put (True) and to delete (False). ``members`` is the set after the change."""
        added, removed = list(added), list(removed)
        if not self._nets and not any("/" in member for member in added):
            return dict.fromkeys(removed, False) | dict.fromkeys(added, True)
        moved = [member for member in (*added, *removed) if "/" in member]
        if not moved:
            gone, new = self._programmed(removed), self._programmed(added)
            return dict.fromkeys(gone, False) | dict.fromkeys(new, True)
        was = (members - set(added)) | set(removed)
        touched = self._within(was | members, moved) | set(added) | set(removed)
        before_top = self.top(touched & was)
        self._move(added, removed)
        after_top = self.top(touched & members)
        return dict.fromkeys(before_top - after_top, False) | dict.fromkeys(after_top - before_top, True)

    def _programmed(self, members: Iterable[str]) -> list[str]:
        return [member for member in members if not self.is_covered(member)]

    def _move(self, added: Iterable[str], removed: Iterable[str]) -> None:
        for member in removed:
            if "/" in member:
                length, number = self._number(member)
                self._nets.get(length, set()).discard(number)
                if not self._nets.get(length):
                    self._nets.pop(length, None)
        for member in added:
            if "/" in member:
                length, number = self._number(member)
                self._nets.setdefault(length, set()).add(number)

    def _within(self, members: Iterable[str], nets: Iterable[str]) -> set[str]:
        wanted: dict[int, set[int]] = {}
        for net in nets:
            length, number = self._number(net)
            wanted.setdefault(length, set()).add(number)
        return set(self._inside(members, wanted))

    def _inside(self, members: Iterable[str], wanted: dict[int, set[int]]) -> Iterator[str]:
        for member in members:
            bits, number = self._number(member)
            if any(length < bits and number >> (bits - length) in nums for length, nums in wanted.items()):
                yield member


class NativeSet(msgspec.Struct):
    """A wish. ``members`` is shared with the wisher, who notes in ``touched`` what differs from the kernel's.

    ``touched`` None: nobody knows what differs, so the kernel is asked. ``text`` is the name that rules call it by.
    """

    text: str
    type: str
    members: set[str]
    touched: set[str] | None = None
