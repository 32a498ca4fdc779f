"""IP addresses: those given on the command line, and many of them as numbers.

Looking at thousands of addresses is most of the work of ``ipam check``; the C library reads and writes them ten
times as fast as the module ``ipaddress``.
"""

from __future__ import annotations

import socket
from typing import NamedTuple

from pycalico.calicoctl.failure import Failure

_FAMILIES = {4: (socket.AF_INET, 4), 6: (socket.AF_INET6, 16)}


class Range(NamedTuple):
    """The addresses ``first`` to ``last`` of one family (4 or 6)."""

    family: int
    first: int
    last: int

    def holds(self, family: int, number: int) -> bool:
        return family == self.family and self.first <= number <= self.last


def parsed(text: str) -> str:
    """An address from the command line in its canonical form. Raises Failure."""
    import ipaddress  # noqa: PLC0415 (one address needs no haste, and this one checks more)

    try:
        found = ipaddress.ip_address(text)
    except ValueError as error:
        raise Failure(
            f"Error executing command: invalid IP address specified: {text}", stdout=True
        ) from error
    return str(getattr(found, "ipv4_mapped", None) or found)


def number(text: str) -> tuple[int, int]:
    """Family and number. Raises ValueError."""
    family = 6 if ":" in text else 4
    try:
        return family, int.from_bytes(socket.inet_pton(_FAMILIES[family][0], text), "big")
    except OSError as error:
        raise ValueError(f"invalid CIDR address: {text}") from error


def text(family: int, value: int) -> str:
    """The inverse of ``number``."""
    kind, size = _FAMILIES[family]
    return socket.inet_ntop(kind, value.to_bytes(size, "big"))


def range_of(cidr: str) -> Range:
    """Raises ValueError."""
    address, _, length = cidr.partition("/")
    family, first = number(address)
    bits = 32 if family == 4 else 128
    size = 1 << (bits - (int(length) if length else bits))
    first -= first % size
    return Range(family, first, first + size - 1)
