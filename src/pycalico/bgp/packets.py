"""From captured bytes to TCP segments, and the two file formats that captures come in. Pure; bounds are checked."""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Iterator

import msgspec

#: Link types of captures: what precedes the IP packet.
ETHERNET, RAW, NULL, COOKED, COOKED_2 = 1, 101, 0, 113, 276
_RAW = (RAW, 12, 14, 228, 229)
_LONGEST_PACKET = 262144
_VLAN = (0x8100, 0x88A8, 0x9100)
_TCP, _IP_IN_IP, _IPV6_IN_IP = 6, 4, 41
_EXTENSIONS = (0, 43, 60)


class BadCapture(Exception):
    """The file is no capture, or ends in the middle of one; one line."""


class Segment(msgspec.Struct, frozen=True):
    """``source`` and ``destination`` are address and port."""

    source: tuple[str, int]
    destination: tuple[str, int]
    sequence: int
    syn: bool
    ends: bool
    payload: bytes


def segment(packet: bytes, link: int = RAW) -> Segment | None:
    """None for whatever is not a whole TCP segment (fragments, other protocols, cut packets)."""
    ip = _network_layer(packet, link)
    for _ in range(3):  # a tunnel in a tunnel at most
        found = _transport(ip)
        if found is None:
            return None
        protocol, source, destination, body = found
        if protocol == _TCP:
            return _tcp(source, destination, body)
        if protocol not in (_IP_IN_IP, _IPV6_IN_IP):
            return None
        ip = body
    return None


def _network_layer(packet: bytes, link: int) -> bytes:
    if link == ETHERNET:
        at = 12
        while packet[at : at + 2] and int.from_bytes(packet[at : at + 2], "big") in _VLAN:
            at += 4
        return packet[at + 2 :]
    offset = {NULL: 4, COOKED: 16, COOKED_2: 20}.get(link, 0 if link in _RAW else len(packet))
    return packet[offset:]


def _transport(ip: bytes) -> tuple[int, str, str, bytes] | None:
    if len(ip) < 20:
        return None
    if ip[0] >> 4 == 4:
        header, total = (ip[0] & 15) * 4, int.from_bytes(ip[2:4], "big")
        fragment = int.from_bytes(ip[6:8], "big") & 0x3FFF
        # Offloading leaves a total of 0 in packets of more than 64 kB.
        total = total or len(ip)
        if header < 20 or total < header or fragment:
            return None
        addresses = (str(ipaddress.IPv4Address(ip[at : at + 4])) for at in (12, 16))
        return ip[9], *addresses, ip[header:total]  # type: ignore[return-value]
    if ip[0] >> 4 != 6 or len(ip) < 40:
        return None
    protocol, body = ip[6], ip[40 : 40 + (int.from_bytes(ip[4:6], "big") or len(ip))]
    while protocol in _EXTENSIONS and len(body) >= 8:
        protocol, body = body[0], body[(body[1] + 1) * 8 :]
    source, destination = (str(ipaddress.IPv6Address(ip[at : at + 16])) for at in (8, 24))
    return protocol, source, destination, body


def _tcp(source: str, destination: str, body: bytes) -> Segment | None:
    if len(body) < 20:
        return None
    offset = (body[12] >> 4) * 4
    if offset < 20 or offset > len(body):
        return None
    source_port, destination_port, sequence = struct.unpack_from(">HHI", body)
    flags = body[13]
    return Segment(
        (source, source_port), (destination, destination_port), sequence,
        syn=bool(flags & 2), ends=bool(flags & 5), payload=body[offset:],
    )  # fmt: skip


def read_capture(data: bytes) -> Iterator[tuple[float, int, bytes]]:
    """Time (seconds since 1970), link type and bytes of each packet of a pcap or pcapng. Raises BadCapture."""
    magic = data[:4]
    if magic == b"\x0a\x0d\x0d\x0a":
        yield from _pcapng(data)
    elif magic in (b"\xd4\xc3\xb2\xa1", b"\xa1\xb2\xc3\xd4", b"\x4d\x3c\xb2\xa1", b"\xa1\xb2\x3c\x4d"):
        yield from _pcap(data, "<" if magic[0] in (0xD4, 0x4D) else ">", nano=b"\x3c" in magic)
    else:
        raise BadCapture("this is neither pcap nor pcapng")


def _pcap(data: bytes, order: str, *, nano: bool) -> Iterator[tuple[float, int, bytes]]:
    if len(data) < 24:
        raise BadCapture("the file ends within its header")
    link = struct.unpack_from(order + "I", data, 20)[0] & 0xFFFF
    at = 24
    while at < len(data):
        if at + 16 > len(data):
            raise BadCapture("the file ends within a packet's header")
        seconds, fraction, length = struct.unpack_from(order + "III", data, at)
        at += 16
        if length > _LONGEST_PACKET or at + length > len(data):
            raise BadCapture("the file ends within a packet")
        yield seconds + fraction / (1e9 if nano else 1e6), link, data[at : at + length]
        at += length


def _pcapng(data: bytes) -> Iterator[tuple[float, int, bytes]]:
    order = "<"
    interfaces: list[tuple[int, float]] = []
    at = 0
    while at < len(data):
        if at + 12 > len(data):
            raise BadCapture("the file ends within a block's header")
        if data[at : at + 4] == b"\x0a\x0d\x0d\x0a":
            order = "<" if data[at + 8 : at + 12] == b"\x4d\x3c\x2b\x1a" else ">"
            interfaces = []
        kind, length = struct.unpack_from(order + "II", data, at)
        if length < 12 or length % 4 or at + length > len(data):
            raise BadCapture("the file ends within a block, or is broken there")
        body = data[at + 8 : at + length - 4]
        at += length
        if kind == 1 and len(body) >= 8:
            interfaces.append((struct.unpack_from(order + "H", body)[0], _resolution(body[8:], order)))
        elif kind == 6 and len(body) >= 20:
            number, high, low, kept = struct.unpack_from(order + "IIII", body)
            if number >= len(interfaces) or kept > len(body) - 20:
                raise BadCapture(
                    "a packet names an interface that is not described, or is longer than its block"
                )
            link, unit_s = interfaces[number]
            yield ((high << 32) + low) * unit_s, link, body[20 : 20 + kept]
        elif kind == 3 and len(body) >= 4 and interfaces:
            kept = min(struct.unpack_from(order + "I", body)[0], len(body) - 4)
            yield 0.0, interfaces[0][0], body[4 : 4 + kept]


def _resolution(options: bytes, order: str) -> float:
    """Seconds per unit of an interface's times; the option if_tsresol, else a microsecond."""
    at = 0
    while at + 4 <= len(options):
        code, length = struct.unpack_from(order + "HH", options, at)
        if code == 0:
            break
        if code == 9 and length >= 1 and at + 4 < len(options):
            value = options[at + 4]
            return float(2.0 ** -(value & 0x7F) if value & 0x80 else 10.0 ** -min(value, 30))
        at += 4 + (length + 3) // 4 * 4
    return 1e-6
