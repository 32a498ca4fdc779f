"""Allocation of packet mark bits."""

from __future__ import annotations

import logging

import msgspec

log = logging.getLogger(__name__)

_FNV_OFFSET = 0x811C9DC5
_FNV_PRIME = 0x01000193


class Marks(msgspec.Struct, frozen=True):
    """Single bits, but for ``endpoint``, which holds all that is left of the mask."""

    accept: int
    passed: int
    scratch0: int
    scratch1: int
    wireguard: int
    endpoint: int

    @property
    def all_ours(self) -> int:
        return self.accept | self.passed | self.scratch0 | self.scratch1

    @property
    def non_calico(self) -> int:
        """The endpoint value for interfaces that are not ours (IPVS): the block's lowest bit."""
        return self.endpoint & -self.endpoint


def allocate(mask: int, wireguard: bool) -> Marks:
    """Lowest bit first. Raises ValueError when the mask has too few bits (5, or 6 with WireGuard)."""
    bits = [1 << position for position in range(32) if mask >> position & 1]
    needed = 5 + wireguard
    if len(bits) < needed:
        raise ValueError(f"IptablesMarkMask {mask:#x} has {len(bits)} bits: set at least {needed}")
    wireguard_bit = bits[4] if wireguard else 0
    rest = sum(bits[4 + wireguard :])
    return Marks(bits[0], bits[1], bits[2], bits[3], wireguard_bit, rest)


def _fnv1(name: str) -> int:
    value = _FNV_OFFSET
    for byte in name.encode():
        value = (value * _FNV_PRIME & 0xFFFFFFFF) ^ byte
    return value


class EndpointMarks:
    """A mark for each interface in IPVS mode, where the packet has lost its interface: FNV-1, linear probing.

    Position 0 means none and 1 is kept for interfaces that are not Calico's.
    """

    def __init__(self, block: int) -> None:
        self.block = block
        self._bits = [1 << position for position in range(32) if block >> position & 1]
        self._positions: dict[str, int] = {}
        self._taken = {0, 1}
        self._told: set[str] = set()

    def assign(self, interface: str) -> int:
        """The interface's mark, kept until `release`; 0 when the block is full."""
        if interface not in self._positions:
            size = 1 << len(self._bits)
            start = _fnv1(interface)
            free = (p for p in ((start + step) % size for step in range(size)) if p not in self._taken)
            position = next(free, None)
            if position is None:
                if interface not in self._told:
                    self._told.add(interface)
                    log.warning("no endpoint mark is free for %s: widen IptablesMarkMask", interface)
                return 0
            self._positions[interface] = position
            self._taken.add(position)
        position = self._positions[interface]
        return sum(bit for index, bit in enumerate(self._bits) if position >> index & 1)

    def release(self, interface: str) -> None:
        position = self._positions.pop(interface, None)
        if position is not None:
            self._taken.discard(position)
