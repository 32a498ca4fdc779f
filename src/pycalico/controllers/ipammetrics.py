"""IPAM's figures under upstream's names, worked out after each pass and held for the next scrape."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from prometheus_client.core import GaugeMetricFamily, Metric

from pycalico.controllers.ipamview import NO_POOL, Block, IPAMView

RECLAMATIONS = "ipam_allocations_gc_reclamations"
_UNKNOWN_NODE = "unknown_node"
_NO_AFFINITY = "no_affinity"
_BY_POOL = {
    "ipam_allocations_in_use": "IPs in use, by pool and node.",
    "ipam_allocations_borrowed": "IPs in use whose block belongs to another node, by pool and node.",
    "ipam_blocks": "Blocks by pool and the node they belong to.",
    "ipam_allocations_gc_candidates": "IPs that garbage collection suspects or has yet to release.",
}
_BY_NODE = {
    "ipam_allocations_per_node": "IPs in use, by node.",
    "ipam_allocations_borrowed_per_node": "IPs in use whose block belongs to another node, by node.",
    "ipam_blocks_per_node": "Blocks by the node they belong to.",
}
_Key = tuple[str, str]


class IPAMMetrics:
    """A collector of prometheus_client. ``update`` belongs to the controller's thread, ``collect`` to scrapes."""

    def __init__(self) -> None:
        self._reclaimed: Counter[_Key] = Counter()
        self._families: list[Metric] = []

    def reclaimed(self, pool: str, node: str) -> None:
        self._reclaimed[pool, node or _UNKNOWN_NODE] += 1

    def node_released(self, node: str) -> None:
        for key in [key for key in self._reclaimed if key[1] == node]:
            del self._reclaimed[key]

    def update(self, view: IPAMView, nodes: Iterable[str]) -> None:
        """``nodes``: those that Calico knows; for real pools each gets a 0 at least."""
        for key in [key for key in self._reclaimed if key[0] not in view.pools and key[0] != NO_POOL]:
            del self._reclaimed[key]
        by_pool: dict[str, Counter[_Key]] = {name: Counter() for name in _BY_POOL}
        by_node: dict[str, Counter[str]] = {name: Counter() for name in _BY_NODE}
        for pool in view.pools:
            for node in nodes:
                for name in _BY_POOL:
                    if name != "ipam_blocks":
                        by_pool[name][pool, node] += 0
        for block in view.blocks.values():
            _count(block, view.pool_of(block), by_pool, by_node)
        families = [
            _family(name, help_, ("ippool", "node"), by_pool[name]) for name, help_ in _BY_POOL.items()
        ]
        families += [
            _family(name, help_, ("node",), {(node,): count for node, count in by_node[name].items()})
            for name, help_ in _BY_NODE.items()
        ]
        sizes = {(name,): network.num_addresses for name, network in view.pools.items()}
        families.append(_family("ipam_ippool_size", "Addresses in the pool.", ("ippool",), sizes))
        counter = Metric(RECLAMATIONS, "IPs released by garbage collection.", "counter")
        for (pool, node), count in self._reclaimed.items():
            counter.add_sample(RECLAMATIONS, {"ippool": pool, "node": node}, count)
        # One assignment: a scrape sees the old list or the new one.
        self._families = [*families, counter]

    def collect(self) -> Iterator[Metric]:
        yield from self._families


def _count(
    block: Block, pool: str, by_pool: dict[str, Counter[_Key]], by_node: dict[str, Counter[str]]
) -> None:
    owner = block.owner or _NO_AFFINITY
    by_pool["ipam_blocks"][pool, owner] += 1
    by_node["ipam_blocks_per_node"][owner] += 1
    for allocation in block.allocations.values():
        node = allocation.node or _UNKNOWN_NODE
        by_pool["ipam_allocations_in_use"][pool, node] += 1
        if allocation.node:
            by_node["ipam_allocations_per_node"][node] += 1
            if allocation.node != block.owner:
                by_pool["ipam_allocations_borrowed"][pool, node] += 1
                by_node["ipam_allocations_borrowed_per_node"][node] += 1
        if allocation.is_candidate or allocation.confirmed:
            by_pool["ipam_allocations_gc_candidates"][pool, node] += 1


def _family(name: str, help_: str, labels: tuple[str, ...], values: Mapping[Any, int]) -> Metric:
    family = GaugeMetricFamily(name, help_, labels=labels)
    for key, value in values.items():
        family.add_metric(key, value)
    return family
