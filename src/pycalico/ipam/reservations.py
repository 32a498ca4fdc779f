"""Addresses that automatic assignment leaves alone (IPReservation)."""

from __future__ import annotations

import ipaddress
from bisect import bisect_right
from collections.abc import Iterable

from pycalico.ipam.sequence import Network


class Reservations:
    """Answers for addresses given as integers. Families do not meet: each has its own ranges."""

    def __init__(self, cidrs: Iterable[str]) -> None:
        self._ranges: dict[int, list[tuple[int, int]]] = {4: [], 6: []}
        for cidr in cidrs:
            network = ipaddress.ip_network(cidr, strict=False)
            self._ranges[network.version].append(
                (int(network.network_address), int(network.broadcast_address))
            )
        for version, ranges in self._ranges.items():
            self._ranges[version] = _merged(sorted(ranges))

    def __bool__(self) -> bool:
        return any(self._ranges.values())

    def reserves(self, address: int, version: int) -> bool:
        ranges = self._ranges[version]
        position = bisect_right(ranges, (address, 1 << 129)) - 1
        return position >= 0 and ranges[position][0] <= address <= ranges[position][1]

    def covers(self, network: Network) -> bool:
        """Whether every address of ``network`` is reserved."""
        ranges = self._ranges[network.version]
        position = bisect_right(ranges, (int(network.network_address), 1 << 129)) - 1
        return position >= 0 and ranges[position][1] >= int(network.broadcast_address)


def _merged(ranges: list[tuple[int, int]]) -> list[tuple[int, int]]:
    merged: list[tuple[int, int]] = []
    for first, last in ranges:
        if merged and first <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(last, merged[-1][1]))
        else:
            merged.append((first, last))
    return merged


NONE = Reservations(())
