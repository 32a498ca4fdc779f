"""Expressions of nf_tables rules as bytes. Pure: nothing here touches the kernel.

A rule is a row of expressions that load something into a register and compare it, and end in a verdict. Register 1
is the verdict's neighbour, 16 bytes wide; concatenations go on in the 32-bit registers behind it.
Source of the layouts: linux/netfilter/nf_tables.h.
"""

from __future__ import annotations

import struct

from pycalico.kernel.nfnetlink import attribute, nested, number, text

ELEMENT = 1
"""NFTA_LIST_ELEM."""
REGISTER = 1
_REGISTER32 = 8

DROP, ACCEPT, JUMP, GOTO, RETURN = 0, 1, -3, -4, -5
EQ, NEQ = 0, 1
IN_INTERFACE_INDEX, MARK, IN_INTERFACE, OUT_INTERFACE, L4PROTO = 4, 3, 6, 7, 16
NETWORK_HEADER, TRANSPORT_HEADER = 1, 2
CT_STATE, CT_STATUS = 0, 2
STATE_INVALID, STATE_ESTABLISHED, STATE_RELATED, STATE_NEW, STATE_UNTRACKED = 1, 2, 4, 8, 64
STATUS_DNAT = 0x20
FIB_OIF, FIB_TYPE = 1, 3
FIB_SADDR, FIB_DADDR, FIB_MARK, FIB_IIF, FIB_OIF_FLAG = 1, 2, 4, 8, 16
LOCAL = 2
"""RTN_LOCAL."""
SNAT, DNAT = 0, 1
NAT_RANDOM_FULLY = 16


def expression(name: str, body: bytes) -> bytes:
    return nested(ELEMENT, text(1, name) + nested(2, body))


def register32(index: int) -> int:
    """The register that lies ``index`` words behind REGISTER's start."""
    return _REGISTER32 + index


def value(kind: int, data: bytes) -> bytes:
    return nested(kind, attribute(1, data))


def meta(key: int, register: int = REGISTER) -> bytes:
    return expression("meta", number(2, key) + number(1, register))


def meta_set(key: int, register: int = REGISTER) -> bytes:
    return expression("meta", number(2, key) + number(3, register))


def payload(base: int, offset: int, length: int, register: int = REGISTER) -> bytes:
    return expression(
        "payload", number(1, register) + number(2, base) + number(3, offset) + number(4, length)
    )


def compare(data: bytes, operator: int = EQ, register: int = REGISTER) -> bytes:
    return expression("cmp", number(1, register) + number(2, operator) + value(3, data))


def bitwise(mask: bytes, xor: bytes, register: int = REGISTER) -> bytes:
    return expression(
        "bitwise",
        number(1, register) + number(2, register) + number(3, len(mask)) + value(4, mask) + value(5, xor),
    )


def in_range(first: bytes, last: bytes, *, negated: bool = False) -> bytes:
    return expression(
        "range", number(1, REGISTER) + number(2, NEQ if negated else EQ) + value(3, first) + value(4, last)
    )


def conntrack(key: int) -> bytes:
    return expression("ct", number(2, key) + number(1, REGISTER))


def fib(result: int, flags: int) -> bytes:
    return expression("fib", number(1, REGISTER) + number(2, result) + number(3, flags))


def lookup(set_name: str, *, negated: bool = False, set_id: int = 0) -> bytes:
    body = text(1, set_name) + number(2, REGISTER)
    if set_id:
        body += number(4, set_id)
    return expression("lookup", body + (number(5, 1) if negated else b""))


def dispatch(map_name: str) -> bytes:
    """The verdict that the map holds for what is in the register."""
    return expression("lookup", text(1, map_name) + number(2, REGISTER) + number(3, 0))


def verdict(code: int, chain: str = "") -> bytes:
    return expression("immediate", number(1, 0) + nested(2, nested(2, verdict_body(code, chain))))


def verdict_body(code: int, chain: str = "") -> bytes:
    return number(1, code & 0xFFFFFFFF) + (text(2, chain) if chain else b"")


def immediate(data: bytes, register: int) -> bytes:
    return expression("immediate", number(1, register) + value(2, data))


def counter() -> bytes:
    return expression("counter", attribute(1, struct.pack(">Q", 0)) + attribute(2, struct.pack(">Q", 0)))


def log(prefix: str, level: int) -> bytes:
    return expression("log", text(2, prefix) + number(5, level))


def reject_port_unreachable(family: int) -> bytes:
    """ICMP port unreachable."""
    code = 3 if family == 4 else 4
    return expression("reject", number(1, 0) + attribute(2, bytes([code])))


def notrack() -> bytes:
    return expression("notrack", b"")


def masquerade(ports: tuple[int, int] | None, *, fully_random: bool) -> bytes:
    flags = NAT_RANDOM_FULLY if fully_random else 0
    body = number(1, flags) if flags else b""
    if not ports:
        return expression("masq", body)
    return _ports(ports) + expression("masq", body + number(2, register32(4)) + number(3, register32(5)))


def translate(
    kind: int, family_number: int, address: bytes, ports: tuple[int, int] | None, *, fully_random: bool
) -> bytes:
    """SNAT or DNAT to one address. The address takes the first register, ports the ones behind."""
    flags = NAT_RANDOM_FULLY if fully_random else 0
    body = number(1, kind) + number(2, family_number) + number(3, REGISTER)
    parts = immediate(address, REGISTER)
    if ports:
        parts += _ports(ports)
        body += number(5, register32(4)) + number(6, register32(5))
    return parts + expression("nat", body + (number(7, flags) if flags else b""))


def _ports(ports: tuple[int, int]) -> bytes:
    first, last = (struct.pack(">H", port) for port in ports)
    return immediate(first, register32(4)) + immediate(last, register32(5))
