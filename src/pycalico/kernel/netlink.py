"""Netlink messages as bytes: enough to dump routes and links and to follow changes quickly.

Reading is done here and not by pyroute2, as a table of 30,000 foreign routes must cost little.
Source of the layouts: linux/netlink.h, rtnetlink.h, if_link.h, neighbour.h.
"""

from __future__ import annotations

import errno
import ipaddress
import os
import socket
import struct
from collections.abc import Iterator

import msgspec

NLMSG_ERROR, NLMSG_DONE = 2, 3
RTM_NEWLINK, RTM_DELLINK, RTM_GETLINK = 16, 17, 18
RTM_NEWADDR, RTM_DELADDR, RTM_GETADDR = 20, 21, 22
RTM_NEWROUTE, RTM_DELROUTE, RTM_GETROUTE = 24, 25, 26
RTM_NEWNEIGH, RTM_GETNEIGH = 28, 30
RTM_GETRULE = 34
_DUMP_REQUEST = 0x1 | 0x300
_DUMP_INTERRUPTED = 0x10
_HEADER = struct.Struct("=IHHII")
_ROUTE = struct.Struct("=BBBBBBBBI")
_LINK = struct.Struct("=BxHiII")
_ADDRESS = struct.Struct("=BBBBI")
_NEIGHBOUR = struct.Struct("=BxxxiHBB")
_RULE = struct.Struct("=BBBBBxxBI")
_ATTRIBUTE = struct.Struct("=HH")
MAIN_TABLE = 254
BLACKHOLE, UNICAST, THROW = 6, 1, 9
#: Higher numbers are in an attribute only, and the header says 252.
_TABLE_MOST, _TABLE_COMPAT = 255, 252
_SOL_NETLINK, _STRICT = 270, 12
_RULE_NOT = 0x2
PERMANENT = 0x80
_FAMILY = {4: socket.AF_INET, 6: socket.AF_INET6, 7: 7}
_VERSION = {socket.AF_INET: 4, socket.AF_INET6: 6}


class NetlinkError(OSError):
    """A request was refused or its answer was cut off; the message is one line."""

    def __str__(self) -> str:
        return self.strerror or str(self.args[0])


class Route(msgspec.Struct, frozen=True):
    """A route of one table. ``dst`` is a CIDR, ``oif`` an interface index (0: none), ``mtu`` 0 when unset."""

    dst: str
    oif: int
    gateway: str
    protocol: int
    scope: int
    type: int
    priority: int
    source: str
    onlink: bool
    mtu: int


class Link(msgspec.Struct, frozen=True):
    """``up`` is the operational state: up, or unknown with a carrier. ``mac`` is empty for tunnels."""

    index: int
    name: str
    admin_up: bool
    up: bool
    mtu: int
    mac: str


class Address(msgspec.Struct, frozen=True):
    index: int
    address: str
    prefix_length: int


class Neighbour(msgspec.Struct, frozen=True):
    """``address`` is an IP, or for a bridge's table the MAC's remote end; ``state`` holds NUD bits."""

    index: int
    address: str
    mac: str
    state: int


class Rule(msgspec.Struct, frozen=True):
    """A rule that looks into a table; ``negated``: for all packets but those with the mark. No mask: no mark counts."""

    priority: int
    table: int
    mark: int
    mask: int
    negated: bool


def attributes(data: bytes, offset: int) -> Iterator[tuple[int, bytes]]:
    end = len(data)
    while offset + 4 <= end:
        length, kind = _ATTRIBUTE.unpack_from(data, offset)
        if length < 4:
            return
        yield kind & 0x3FFF, data[offset + 4 : offset + length]
        offset += (length + 3) & ~3


def messages(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    """(type, flags, body) of each message in a datagram."""
    offset = 0
    while offset + 16 <= len(data):
        length, kind, flags, _, _ = _HEADER.unpack_from(data, offset)
        if length < 16:
            return
        yield kind, flags, data[offset + 16 : offset + length]
        offset += (length + 3) & ~3


def _dump(kind: int, body: bytes, *, strict: bool) -> Iterator[tuple[int, bytes]]:
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as channel:
        channel.settimeout(10)
        channel.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        if strict:
            # Else the kernel takes no notice of which table was asked for.
            channel.setsockopt(_SOL_NETLINK, _STRICT, 1)
        channel.send(_HEADER.pack(16 + len(body), kind, _DUMP_REQUEST, 1, 0) + body)
        while True:
            try:
                data = channel.recv(1 << 18)
            except OSError as error:
                raise NetlinkError(f"netlink dump failed: {error}") from None
            for answer, flags, content in messages(data):
                if flags & _DUMP_INTERRUPTED:
                    raise NetlinkError("netlink dump was interrupted by a change")
                if answer == NLMSG_DONE:
                    return
                if answer == NLMSG_ERROR:
                    code = struct.unpack_from("=i", content)[0]
                    raise NetlinkError(-code, f"netlink dump was refused: {os.strerror(-code)}")
                yield answer, content


def _retried(kind: int, body: bytes, *, strict: bool = False) -> list[tuple[int, bytes]]:
    """Interrupted dumps are taken again; the third failure counts. Raises NetlinkError."""
    for _ in range(2):
        try:
            return list(_dump(kind, body, strict=strict))
        except NetlinkError:
            continue
    return list(_dump(kind, body, strict=strict))


def parse_route(body: bytes, wanted: int = MAIN_TABLE) -> Route | None:
    """None for other tables than ``wanted`` and for what is no route of an IP family (cached, local, multicast)."""
    family, length, _, _, table, protocol, scope, kind, flags = _ROUTE.unpack_from(body)
    if (
        table != (wanted if wanted <= _TABLE_MOST else _TABLE_COMPAT)
        or kind not in {UNICAST, BLACKHOLE, 7, 8, THROW}
        or flags & 0x200
        or family not in _VERSION
    ):
        return None
    oif = priority = mtu = 0
    dst = gateway = source = ""
    for key, value in attributes(body, _ROUTE.size):
        if key == 1:
            dst = socket.inet_ntop(family, value)
        elif key == 4:
            oif = int.from_bytes(value, "little")
        elif key == 5:
            gateway = socket.inet_ntop(family, value)
        elif key == 6:
            priority = int.from_bytes(value, "little")
        elif key == 7:
            source = socket.inet_ntop(family, value)
        elif key == 15 and int.from_bytes(value, "little") != wanted:
            return None
        elif key == 8:
            mtu = next((int.from_bytes(v, "little") for k, v in attributes(value, 0) if k == 2), 0)
    any_address = "0.0.0.0" if family == socket.AF_INET else "::"
    return Route(
        f"{dst or any_address}/{length}",
        oif,
        gateway,
        protocol,
        scope,
        kind,
        priority,
        source,
        bool(flags & 4),
        mtu,
    )


def routes(family: int) -> list[Route]:
    """The main table. Raises NetlinkError."""
    found = (parse_route(body) for _, body in _retried(RTM_GETROUTE, _ROUTE.pack(_FAMILY[family], *[0] * 8)))
    return [route for route in found if route]


def routes_of(family: int, table: int) -> list[Route]:
    """Of any table; one that does not exist is empty. Raises NetlinkError."""
    asked = _ROUTE.pack(_FAMILY[family], *[0] * 8) + _ATTRIBUTE.pack(8, 15) + struct.pack("=I", table)
    try:
        bodies = _retried(RTM_GETROUTE, asked, strict=True)
    except NetlinkError as error:
        if error.errno == errno.ENOENT:
            return []
        raise
    found = (parse_route(body, table) for _, body in bodies)
    return [route for route in found if route]


def rules(family: int) -> list[Rule]:
    """Those that look into a table. Raises NetlinkError."""
    found = []
    for _, body in _retried(RTM_GETRULE, _RULE.pack(_FAMILY[family], *[0] * 6)):
        got, _, _, _, table, action, flags = _RULE.unpack_from(body)
        if got != _FAMILY[family] or action != 1:
            continue
        values = {key: int.from_bytes(value, "little") for key, value in attributes(body, _RULE.size)}
        found.append(
            Rule(
                values.get(6, 0),
                values.get(15, table),
                values.get(10, 0),
                values.get(16, 0),
                bool(flags & _RULE_NOT),
            )
        )
    return found


def parse_link(body: bytes) -> Link:
    _, _, index, flags, _ = _LINK.unpack_from(body)
    name = mac = ""
    mtu = state = 0
    for key, value in attributes(body, _LINK.size):
        if key == 3:
            name = value.rstrip(b"\0").decode(errors="replace")
        elif key == 1:
            mac = value.hex(":") if len(value) == 6 else ""
        elif key == 4:
            mtu = int.from_bytes(value, "little")
        elif key == 16:
            state = value[0]
    up = state == 6 or (state == 0 and bool(flags & 0x40))
    return Link(index, name, bool(flags & 1), up, mtu, mac)


def links() -> list[Link]:
    """Raises NetlinkError."""
    return [parse_link(body) for _, body in _retried(RTM_GETLINK, _LINK.pack(0, 0, 0, 0, 0))]


def parse_address(body: bytes) -> Address | None:
    family, length, _, _, index = _ADDRESS.unpack_from(body)
    if family not in _VERSION:
        return None
    found = dict(attributes(body, _ADDRESS.size))
    # On a point-to-point link IFA_ADDRESS is the other end's; IFA_LOCAL is ours.
    value = found.get(2) or found.get(1)
    return Address(index, socket.inet_ntop(family, value), length) if value else None


def addresses() -> list[Address]:
    """Of both families. Raises NetlinkError."""
    found = (parse_address(body) for _, body in _retried(RTM_GETADDR, _ADDRESS.pack(0, 0, 0, 0, 0)))
    return [address for address in found if address]


def neighbours(family: int) -> list[Neighbour]:
    """``family`` 4 or 6, or 7 for the bridges' and VXLAN devices' forwarding tables. Raises NetlinkError."""
    found = []
    for _, body in _retried(RTM_GETNEIGH, _NEIGHBOUR.pack(_FAMILY[family], 0, 0, 0, 0)):
        got, index, state, _, _ = _NEIGHBOUR.unpack_from(body)
        if got != _FAMILY[family]:
            continue
        values = dict(attributes(body, _NEIGHBOUR.size))
        address, mac = values.get(1, b""), values.get(2, b"")
        if len(address) in {4, 16}:
            text = str(ipaddress.ip_address(address))
            found.append(Neighbour(index, text, mac.hex(":") if len(mac) == 6 else "", state))
    return found
