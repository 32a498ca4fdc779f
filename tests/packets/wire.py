"""Packets by hand: what to write into a raw socket, and which probe it was when it comes out of one."""

import functools
import socket
import struct

NUMBERS = {"icmp": 1, "tcp": 6, "udp": 17, "icmpv6": 58, "sctp": 132}
_MAGIC = b"probe"


@functools.cache
def _crc_table():
    table = []
    for byte in range(256):
        value = byte
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
        table.append(value)
    return table


def _crc32c(data):
    table, value = _crc_table(), 0xFFFFFFFF
    for byte in data:
        value = value >> 8 ^ table[(value ^ byte) & 0xFF]
    return value ^ 0xFFFFFFFF


def _sum16(data):
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def _with_checksum(packet, body, offset):
    family = socket.AF_INET6 if packet.version == 6 else socket.AF_INET
    addresses = socket.inet_pton(family, packet.src) + socket.inet_pton(family, packet.dst)
    number, length = NUMBERS[packet.protocol], len(body)
    tail = (
        struct.pack("!IHBB", length, 0, 0, number)
        if packet.version == 6
        else struct.pack("!BBH", 0, number, length)
    )
    value = _sum16(addresses + tail + body)
    return body[:offset] + struct.pack("!H", value or 0xFFFF) + body[offset + 2 :]


def build(packet, probe):
    """What follows the IP header. ``probe`` is a number below 2**32."""
    if packet.protocol == "tcp":
        body = struct.pack("!HHIIBBHHH", packet.sport, packet.dport, probe, 0, 5 << 4, 2, 65535, 0, 0)
        return _with_checksum(packet, body, 16)
    if packet.protocol == "udp":
        payload = _MAGIC + struct.pack("!I", probe)
        body = struct.pack("!HHHH", packet.sport, packet.dport, 8 + len(payload), 0) + payload
        return _with_checksum(packet, body, 6)
    if packet.protocol == "sctp":
        # An INIT chunk: the first packet of an association.
        chunk = struct.pack("!BBHIIHHI", 1, 0, 20, probe, 65535, 1, 1, probe)
        head = struct.pack("!HHI", packet.sport, packet.dport, 0)
        return head + struct.pack("<I", _crc32c(head + b"\0\0\0\0" + chunk)) + chunk
    body = struct.pack("!BBHI", packet.icmp_type, packet.icmp_code, 0, probe) + _MAGIC + b"\0" * 7
    if packet.protocol == "icmpv6":
        return _with_checksum(packet, body, 2)
    return body[:2] + struct.pack("!H", _sum16(body)) + body[4:]


def probe_of(protocol, body):
    """The number of the probe that ``body`` (without IP header) is, or None for something else."""
    try:
        if protocol == "tcp":
            (sequence,), flags = struct.unpack_from("!I", body, 4), body[13]
            return sequence if flags == 2 else None
        if protocol == "udp":
            return struct.unpack_from("!I", body, 13)[0] if body[8:13] == _MAGIC else None
        if protocol == "sctp":
            return struct.unpack_from("!I", body, 16)[0] if body[12] == 1 else None
        is_reply = body[0] in ((129,) if protocol == "icmpv6" else (0, 14, 16, 18))
        return struct.unpack_from("!I", body, 4)[0] if body[8:13] == _MAGIC and not is_reply else None
    except (struct.error, IndexError):
        return None
