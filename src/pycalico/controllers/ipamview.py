"""What IPAM holds, as the feed tells it: blocks, allocations and pools, indexed by handle and by node. Pure."""

from __future__ import annotations

import ipaddress
import logging
from collections.abc import Iterable

import msgspec

from pycalico.api.v3.ipam import IPAMBlock
from pycalico.api.v3.ippool import IPPool
from pycalico.controllers.kubernetes import IPAddress
from pycalico.ipam import block as blocks
from pycalico.ipam.block import Release

log = logging.getLogger(__name__)

NO_POOL = "no_ippool"
WINDOWS_HANDLE = blocks.WINDOWS_HANDLE
_TUNNELS = frozenset(
    {
        "ipipTunnelAddress",
        "vxlanTunnelAddress",
        "vxlanV6TunnelAddress",
        "wireguardTunnelAddress",
        "wireguardV6TunnelAddress",
    }
)

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
#: Handle, address, sequence number: an address that is given again, even to the same handle, is another one.
AllocationID = tuple[str, IPAddress, int | None]


class Allocation(msgspec.Struct, eq=False):
    """One address in use, and what is suspected of it. Times are monotonic seconds.

    ``why`` it is thought leaked, and what ``kept`` it although it is confirmed.
    """

    address: IPAddress
    handle: str
    attributes: dict[str, str]
    sequence_number: int | None
    block: str
    leaked_since_s: float | None = None
    confirmed: bool = False
    why: str = ""
    kept: str = ""

    def clear(self) -> None:
        """It is suspected no longer."""
        self.leaked_since_s, self.confirmed = None, False
        self.why = self.kept = ""

    @property
    def id(self) -> AllocationID:
        return self.handle, self.address, self.sequence_number

    @property
    def node(self) -> str:
        return self.attributes.get("node", "")

    @property
    def pod(self) -> tuple[str, str] | None:
        """Namespace and name, when it was assigned to a pod."""
        namespace, name = self.attributes.get("namespace", ""), self.attributes.get("pod", "")
        return (namespace, name) if namespace and name else None

    @property
    def is_tunnel(self) -> bool:
        return self.attributes.get("type", "") in _TUNNELS

    @property
    def is_windows_reserved(self) -> bool:
        return self.handle.lower() == WINDOWS_HANDLE

    @property
    def is_candidate(self) -> bool:
        return self.leaked_since_s is not None and not self.confirmed

    def release(self) -> Release:
        return Release(str(self.address), self.handle, self.sequence_number)

    def fields(self) -> dict[str, dict[str, str]]:
        """For ``extra`` of a log line."""
        found = {"ip": str(self.address), "handle": self.handle, "node": self.node}
        if self.pod:
            found["pod"] = "/".join(self.pod)
        return {"fields": found}


class Block(msgspec.Struct, eq=False):
    """``used`` counts addresses without a handle too, and those that rest; ``empty_since_s`` is monotonic.

    ``rests_since_s`` is the Unix time of the longest rest of an address (see `ipam.block`); None when none rests.
    """

    name: str
    network: Network
    owner: str | None
    used: int
    allocations: dict[AllocationID, Allocation]
    empty_since_s: float | None = None
    rests_since_s: float | None = None


class IPAMView:
    """Everything is indexed as it comes, so that a pass over it is one loop."""

    def __init__(self) -> None:
        self.blocks: dict[str, Block] = {}
        self.pools: dict[str, Network] = {}
        self.by_handle: dict[str, dict[AllocationID, Allocation]] = {}
        self.by_node: dict[str, dict[AllocationID, Allocation]] = {}
        self.blocks_of: dict[str, set[str]] = {}

    # ---- from the feed ----

    def put_block(self, resource: IPAMBlock) -> None:
        """One that makes no sense is reported and counts as absent: nothing in it is ever released."""
        name = resource.metadata.name
        try:
            new = _read(resource)
        except (ValueError, IndexError, TypeError) as error:
            log.warning("ignoring IPAM block %s: %s", name, error)
            self.remove_block(name)
            return
        old = self.blocks.get(name)
        if old is not None:
            for known in list(old.allocations):
                if known in new.allocations:
                    # The suspicion stays with it.
                    new.allocations[known] = old.allocations[known]
                else:
                    self._unindex(old.allocations[known])
            self._disown(old)
            if new.used == 0 and new.owner == old.owner:
                new.empty_since_s = old.empty_since_s
        for identity, allocation in new.allocations.items():
            self.by_handle.setdefault(allocation.handle, {})[identity] = allocation
            if allocation.node:
                self.by_node.setdefault(allocation.node, {})[identity] = allocation
        self.blocks[name] = new
        if new.owner is not None:
            self.blocks_of.setdefault(new.owner, set()).add(name)

    def remove_block(self, name: str) -> None:
        old = self.blocks.pop(name, None)
        if old is None:
            return
        for allocation in old.allocations.values():
            self._unindex(allocation)
        self._disown(old)

    def put_pool(self, resource: IPPool) -> None:
        try:
            self.pools[resource.metadata.name] = ipaddress.ip_network(resource.spec.cidr, strict=False)
        except ValueError as error:
            log.warning("ignoring IP pool %s: %s", resource.metadata.name, error)
            self.pools.pop(resource.metadata.name, None)

    def remove_pool(self, name: str) -> None:
        self.pools.pop(name, None)

    # ---- from our own releases: what we freed is gone at once, not only when the feed says so ----

    def forget(self, allocations: Iterable[Allocation]) -> None:
        for allocation in allocations:
            found = self.blocks.get(allocation.block)
            if found is not None and found.allocations.pop(allocation.id, None) is not None:
                found.used -= 1
            self._unindex(allocation)

    # ---- questions ----

    def nodes(self) -> list[str]:
        """Nodes that hold addresses or blocks."""
        return sorted(set(self.by_node) | set(self.blocks_of))

    def confirmed(self) -> list[Allocation]:
        return [allocation for allocation in self.suspected() if allocation.confirmed]

    def suspected(self) -> list[Allocation]:
        """Candidates and confirmed leaks."""
        return [
            allocation
            for block in self.blocks.values()
            for allocation in block.allocations.values()
            if allocation.confirmed or allocation.leaked_since_s is not None
        ]

    def pool_of(self, block: Block) -> str:
        for name, network in sorted(self.pools.items()):
            if network.version == block.network.version and block.network.subnet_of(network):  # type: ignore[arg-type]
                return name
        return NO_POOL

    def _unindex(self, allocation: Allocation) -> None:
        for index, key in ((self.by_handle, allocation.handle), (self.by_node, allocation.node)):
            found = index.get(key)
            if found is not None:
                found.pop(allocation.id, None)
                if not found:
                    del index[key]

    def _disown(self, block: Block) -> None:
        if block.owner is not None:
            mine = self.blocks_of.get(block.owner, set())
            mine.discard(block.name)
            if not mine:
                self.blocks_of.pop(block.owner, None)


def _read(resource: IPAMBlock) -> Block:
    name, spec = resource.metadata.name, resource.spec
    network = blocks.network(spec)
    allocations: dict[AllocationID, Allocation] = {}
    used = sum(index is not None for index in spec.allocations)
    for ordinal, holder in blocks.allocated(spec):
        # Without a handle nobody can prove whose it is, so it can never be released from here.
        if holder.handle is not None:
            found = Allocation(
                network[ordinal], holder.handle, holder.attributes, holder.sequence_number, name
            )
            allocations[found.id] = found
    # Only hosts can own a block here; other forms of affinity belong to later versions.
    owner = blocks.owner(spec) if (spec.affinity or "").startswith(blocks.HOST_PREFIX) else None
    return Block(name, network, owner or None, used, allocations, rests_since_s=blocks.rests_since_s(spec))
