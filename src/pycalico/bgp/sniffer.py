"""Packets of an interface, as the kernel hands them to whoever may look (AF_PACKET, needs CAP_NET_RAW)."""

from __future__ import annotations

import ctypes
import socket
import struct
import time
from collections.abc import Iterator, Sequence

_ETH_P_ALL = 3
_SO_ATTACH_FILTER = 26
_OUTGOING = 4
_BUFFER = 8 << 20
_SNAP = 262144
#: Classic BPF: load byte, half word absolute; header length of IPv4; load half word indexed; jump if equal; return.
_LDB, _LDH, _LDXB, _LDHX, _JEQ, _AND, _RET = 0x30, 0x28, 0xB1, 0x48, 0x15, 0x54, 0x06


class Sniffer:
    """IP packets with TCP to or from ``ports``, of one interface, or of all when it is "". Raises OSError."""

    def __init__(self, interface: str, ports: Sequence[int]) -> None:
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0)
        try:
            program = _filter(ports)
            buffer = ctypes.create_string_buffer(program)
            self._socket.setsockopt(
                socket.SOL_SOCKET,
                _SO_ATTACH_FILTER,
                struct.pack("HP", len(program) // 8, ctypes.addressof(buffer)),
            )
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
            self._socket.bind((interface, _ETH_P_ALL))
        except OSError:
            self._socket.close()
            raise

    def packets(self, until: float = float("inf")) -> Iterator[tuple[float, bytes]]:
        """Time (seconds since 1970) and bytes from the IP header on, until the monotonic time ``until``."""
        while (left_s := until - time.monotonic()) > 0:
            self._socket.settimeout(min(left_s, 3600))
            try:
                data, address = self._socket.recvfrom(_SNAP)
            except TimeoutError:
                continue
            # A packet to oneself passes the loopback interface twice.
            if address[0] == "lo" and address[2] == _OUTGOING:
                continue
            yield time.time(), data

    def close(self) -> None:
        self._socket.close()


def _filter(ports: Sequence[int]) -> bytes:
    """TCP with one of the ports, in IPv4 or right behind the header of IPv6.

    Tunnelled IPv4 and IPv6 with extension headers pass, too: those few are looked at in Python.
    """
    code: list[tuple[int, int, int, int]] = []
    code.append((_LDB, 0, 0, 0))
    code.append((_AND, 0, 0, 0xF0))
    code.append((_JEQ, 1, 0, 0x40))
    code.append((_JEQ, _IPV6, _PASS, 0x60))
    code.append((_LDB, 0, 0, 9))
    code.append((_JEQ, _ACCEPT, 0, 4))
    code.append((_JEQ, 0, _PASS, 6))
    code.append((_LDXB, 0, 0, 0))
    code += _port_checks(_LDHX, 0, ports)
    code.append((_RET, 0, 0, 0))
    six = len(code)
    code.append((_LDB, 0, 0, 6))
    code.append((_JEQ, 1 + len(_BEFORE_TCP), 0, 6))
    code += [(_JEQ, _ACCEPT, 0, header) for header in _BEFORE_TCP]
    code.append((_RET, 0, 0, 0))
    code += _port_checks(_LDH, 40, ports)
    code.append((_RET, 0, 0, 0))
    accept = len(code)
    code.append((_RET, 0, 0, _SNAP))
    places = {_ACCEPT: accept, _PASS: accept - 1, _IPV6: six}
    resolved = []
    for at, (operation, yes, no, value) in enumerate(code):
        targets = [places[jump] - at - 1 if jump in places else jump for jump in (yes, no)]
        resolved.append(struct.pack("HBBI", operation, *targets, value))
    return b"".join(resolved)


#: Stand for jumps that are known once the program is whole: to its end, to the refusal before it, and to IPv6's part.
_ACCEPT, _PASS, _IPV6 = -1, -2, -3
#: Extension headers (hop by hop, routing, destination) and IPv6 in IPv6.
_BEFORE_TCP = (0, 43, 60, 41)


def _port_checks(load: int, base: int, ports: Sequence[int]) -> list[tuple[int, int, int, int]]:
    checks: list[tuple[int, int, int, int]] = []
    for offset in (base, base + 2):
        checks.append((load, 0, 0, offset))
        checks += [(_JEQ, _ACCEPT, 0, port) for port in ports]
    return checks
