"""The largest packet that reaches an address unfragmented, tried with ICMP echo requests.

The kernel's own idea of the path (its PMTU cache) is left aside: IP_PMTUDISC_PROBE sets DF and sends what the interface
takes. Values of the socket options: linux/in.h, in6.h.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import time
from collections.abc import Sequence
from typing import Final

_IP_MTU_DISCOVER: Final = 10
_IPV6_MTU_DISCOVER: Final = 23
_PMTUDISC_PROBE: Final = 3
_ECHO: Final = {4: (8, 0), 6: (128, 129)}
_IP_HEADER: Final = {4: 20, 6: 40}
_ICMP_HEADER: Final = 8
#: Every path carries this much (RFC 791, RFC 8200).
LEAST: Final = {4: 576, 6: 1280}
_AT_ONCE: Final = 16
_ANSWER_S: Final = 0.5


class CannotProbe(Exception):
    """One line."""


def largest(address: str, family: int, most: int) -> int | None:
    """Bytes with all headers, at most ``most``; None when nothing comes back. Raises CannotProbe.

    A router that answers for a packet too large is not relied on: some are silent, which is why one looks.
    """
    kind, protocol = (
        (socket.AF_INET, socket.IPPROTO_ICMP) if family == 4 else (socket.AF_INET6, socket.IPPROTO_ICMPV6)
    )
    try:
        with socket.socket(kind, socket.SOCK_RAW, protocol) as sock:
            level, option = (
                (socket.IPPROTO_IP, _IP_MTU_DISCOVER)
                if family == 4
                else (socket.IPPROTO_IPV6, _IPV6_MTU_DISCOVER)
            )
            sock.setsockopt(level, option, _PMTUDISC_PROBE)
            sock.connect((address, 0))
            prober = _Prober(sock, family)
            good = prober.largest_of([most, min(LEAST[family], most)])
            if good is None:
                return None
            bad = most + 1 if good == most else most
            while bad - good > 1:
                step = max(1, (bad - good) // _AT_ONCE)
                sizes = list(range(good + 1, bad, step))
                good = prober.largest_of(sizes) or good
                bad = min([size for size in sizes if size > good], default=bad)
            return good
    except PermissionError as error:
        raise CannotProbe("probing takes a raw socket: run it as root") from error
    except OSError as error:
        raise CannotProbe(f"cannot probe {address}: {error.strerror or error}") from error


class _Prober:
    def __init__(self, sock: socket.socket, family: int) -> None:
        self._sock, self._family = sock, family
        self._identifier = os.getpid() & 0xFFFF
        self._sequence = 0

    def largest_of(self, sizes: Sequence[int]) -> int | None:
        """Sends one packet of each size, twice since one may be lost, and waits until the largest is back."""
        sent: dict[bytes, int] = {}
        for size in [*sizes, *sizes]:
            self._sequence = self._sequence % 0xFFFF + 1
            mark = struct.pack("!HH", self._identifier, self._sequence)
            with contextlib.suppress(
                OSError
            ):  # larger than the interface takes, or what became of the one before
                self._sock.send(self._packet(mark, size))
                sent[mark] = size
        best: int | None = None
        deadline_s = time.monotonic() + _ANSWER_S
        while best != max(sent.values(), default=None) and (left_s := deadline_s - time.monotonic()) > 0:
            self._sock.settimeout(left_s)
            try:
                packet = self._sock.recv(1 << 16)
            except TimeoutError:
                break
            except OSError:
                continue
            # IPv4's raw sockets show the header, IPv6's do not.
            start = (packet[0] & 0xF) * 4 if self._family == 4 and packet else 0
            if packet[start : start + 1] == bytes([_ECHO[self._family][1]]):
                size = sent.get(packet[start + 4 : start + 8], 0)
                best = max(size, best or 0) or None
        return best

    def _packet(self, mark: bytes, size: int) -> bytes:
        kind = _ECHO[self._family][0]
        data = bytes(max(0, size - _IP_HEADER[self._family] - _ICMP_HEADER))
        # The kernel fills in ICMPv6's checksum, since that covers addresses.
        checksum = _checksum(struct.pack("!BBH", kind, 0, 0) + mark + data) if self._family == 4 else 0
        return struct.pack("!BBH", kind, 0, checksum) + mark + data


def _checksum(data: bytes) -> int:
    """The Internet's (RFC 1071)."""
    padded = data + b"\0" * (len(data) % 2)
    total: int = sum(struct.unpack(f"!{len(padded) // 2}H", padded))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
