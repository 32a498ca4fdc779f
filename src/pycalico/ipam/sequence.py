"""Which block of a pool a host tries first, second, ...: upstream's order, exactly, so that hosts spread alike.

The start comes from Go's ``math/rand`` (an additive lagged Fibonacci generator) seeded with the FNV-1 hash of
the host's name; from there blocks follow in order and wrap. ``lagged_fibonacci.bin`` holds the generator's 607
initial cells (little-endian 64-bit): the state of the recurrence seeded with 1 after 7.8e12 draws, a constant
of that generator. Vectors: tests/golden/data/ipam-vectors.json.
"""

from __future__ import annotations

import ipaddress
import struct
import time
from collections.abc import Iterator
from functools import cache, lru_cache

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_LENGTH, _TAP = 607, 273
_WORD = (1 << 64) - 1
_LCG_MODULUS = (1 << 31) - 1
_LCG_FACTOR = 48271


@lru_cache(maxsize=4096)
def network(cidr: str, *, strict: bool = True) -> Network:
    """Parsed once: an assignment meets its node's blocks and the pools again each time. Raises ValueError."""
    return ipaddress.ip_network(cidr, strict=strict)


def fnv1(name: str) -> int:
    """FNV-1 (not FNV-1a), 32 bits."""
    value = 0x811C9DC5
    for byte in name.encode():
        value = (value * 0x01000193 & 0xFFFFFFFF) ^ byte
    return value


@cache
def _initial_cells() -> tuple[int, ...]:
    # Beside this file: to ask importlib.resources for it costs a plugin 6 ms.
    with open(f"{__file__.rpartition('/')[0]}/lagged_fibonacci.bin", "rb") as file:  # noqa: PTH123
        return struct.unpack(f"<{_LENGTH}Q", file.read())


class GoRandom:
    """The stream of Go's ``rand.New(rand.NewSource(seed))``."""

    def __init__(self, seed: int) -> None:
        x = seed % _LCG_MODULUS or 89482311
        for _ in range(20):
            x = x * _LCG_FACTOR % _LCG_MODULUS
        self._cells: list[int] = []
        for cell in _initial_cells():
            mixed = cell
            for shift in (40, 20, 0):
                x = x * _LCG_FACTOR % _LCG_MODULUS
                mixed ^= x << shift
            self._cells.append(mixed & _WORD)
        self._tap, self._feed = 0, _LENGTH - _TAP

    def uint64(self) -> int:
        self._tap = (self._tap - 1) % _LENGTH
        self._feed = (self._feed - 1) % _LENGTH
        value = (self._cells[self._feed] + self._cells[self._tap]) & _WORD
        self._cells[self._feed] = value
        return value

    def uint32(self) -> int:
        return (self.uint64() & (_WORD >> 1)) >> 31

    def below(self, limit: int) -> int:
        """Uniform in 0..limit-1, as ``big.Int.Rand`` draws it: word by word, refused when too large."""
        bits = limit.bit_length()
        words = -(-bits // 64)
        top = (1 << (bits % 64 or 64)) - 1
        while True:
            drawn = [self.uint32() | self.uint32() << 32 for _ in range(words)]
            drawn[-1] &= top
            value = sum(word << 64 * position for position, word in enumerate(drawn))
            if value < limit:
                return value


def blocks(pool: Network, block_size: int, host: str) -> Iterator[Network]:
    """All blocks of ``pool`` with prefix length ``block_size``, in the order in which ``host`` tries them.

    None where a block would be larger than the pool.
    """
    if block_size < pool.prefixlen:
        return
    count = 1 << (block_size - pool.prefixlen)
    # Blocks of one address would fill in the same order on every try; upstream starts at a random one.
    seed = time.time_ns() if block_size == pool.max_prefixlen else fnv1(host)
    start = GoRandom(seed).below(count)
    base, step = int(pool.network_address), 1 << (pool.max_prefixlen - block_size)
    make = type(pool)
    for offset in range(count):
        yield make((base + (start + offset) % count * step, block_size))
