"""The arithmetic of one block: who holds which of its addresses. Pure; callers write the result with compare-and-swap.

Order and bookkeeping are upstream's (v3.28.1, observed): free ordinals form a queue, attributes are shared by
equal holders and compacted, an allocation remembers the block's sequence number from before the write.
"""

from __future__ import annotations

import copy
import ipaddress
import time
from collections.abc import Iterable, Iterator, Mapping

import msgspec

from pycalico.api import names
from pycalico.api.meta import ObjectMeta
from pycalico.api.v3.ipam import AllocationAttribute, IPAMBlock, IPAMBlockSpec
from pycalico.ipam.errors import AffinityMismatch, AlreadyAssigned
from pycalico.ipam.reservations import NONE, Reservations
from pycalico.ipam.sequence import Network

HOST_PREFIX = "host:"
WINDOWS_HANDLE = "windows-reserved-ipam-handle"


def new(cidr: Network, host: str | None) -> IPAMBlock:
    """An empty block of ``host``. Its sequence starts at the clock, so that a re-created block never repeats one."""
    size = cidr.num_addresses
    return IPAMBlock(
        metadata=ObjectMeta(name=names.block(str(cidr))),
        spec=IPAMBlockSpec(
            cidr=str(cidr),
            affinity=None if host is None else HOST_PREFIX + host,
            allocations=[None] * size,
            unallocated=list(range(size)),
            sequence_number=time.time_ns(),
        ),
    )


def copy_of(block: IPAMBlock) -> IPAMBlock:
    """One that can be changed by the functions of this module; its attributes are shared, for they only ever come and go."""
    spec = copy.copy(block.spec)
    spec.allocations = list(spec.allocations)
    spec.unallocated = list(spec.unallocated)
    spec.attributes = list(spec.attributes)
    spec.sequence_number_for_allocation = dict(spec.sequence_number_for_allocation)
    return IPAMBlock(metadata=copy.copy(block.metadata), spec=spec)


def owner(block: IPAMBlockSpec) -> str | None:
    """The host that the block belongs to."""
    return block.affinity.removeprefix(HOST_PREFIX) if block.affinity else None


def network(block: IPAMBlockSpec) -> Network:
    return ipaddress.ip_network(block.cidr)


def base_of(block: IPAMBlockSpec) -> tuple[int, int]:
    """First address as a number, and the family."""
    first = ipaddress.ip_address(block.cidr.split("/")[0])
    return int(first), first.version


def text(address: int, version: int) -> str:
    return str(ipaddress.IPv4Address(address) if version == 4 else ipaddress.IPv6Address(address))


def check_affinity(block: IPAMBlockSpec, host: str) -> None:
    """Raises AffinityMismatch when the block is not ``host``'s."""
    if block.affinity is None:
        raise AffinityMismatch(f"Attempt to assign from block {block.cidr} with no affinity")
    if block.affinity != HOST_PREFIX + host:
        raise AffinityMismatch(f"Block affinity ({block.affinity}) does not match provided ({host})")


def assign(
    block: IPAMBlockSpec,
    count: int,
    handle: str | None,
    attributes: Mapping[str, str],
    reservations: Reservations = NONE,
) -> list[str]:
    """Takes up to ``count`` addresses from the head of the queue; reserved ones keep their place."""
    first, version = base_of(block)
    taken: list[int] = []
    for ordinal in block.unallocated:
        if len(taken) == count:
            break
        if not (reservations and reservations.reserves(first + ordinal, version)):
            taken.append(ordinal)
    if not taken:
        return []
    gone = set(taken)
    block.unallocated = [ordinal for ordinal in block.unallocated if ordinal not in gone]
    _hold(block, taken, handle, attributes)
    return [text(first + ordinal, version) for ordinal in taken]


def assign_address(
    block: IPAMBlockSpec, address: int, handle: str | None, attributes: Mapping[str, str]
) -> None:
    """Takes one given address. Raises AlreadyAssigned."""
    first, version = base_of(block)
    ordinal = address - first
    if block.allocations[ordinal] is not None:
        raise AlreadyAssigned(text(address, version))
    block.unallocated.remove(ordinal)
    _hold(block, [ordinal], handle, attributes)


def _hold(
    block: IPAMBlockSpec, ordinals: list[int], handle: str | None, attributes: Mapping[str, str]
) -> None:
    holder = AllocationAttribute(handle_id=handle, secondary=dict(attributes))
    try:
        index = block.attributes.index(holder)
    except ValueError:
        index = len(block.attributes)
        block.attributes.append(holder)
    for ordinal in ordinals:
        block.allocations[ordinal] = index
        block.sequence_number_for_allocation[str(ordinal)] = block.sequence_number


class Release(msgspec.Struct):
    """An address to give back, on condition that handle and sequence number (where given) still are the holder's."""

    address: str
    handle: str | None = None
    sequence_number: int | None = None


class Holder(msgspec.Struct):
    """Who holds an address."""

    handle: str | None
    attributes: dict[str, str]
    sequence_number: int | None


def holder_of(block: IPAMBlockSpec, ordinal: int) -> Holder | None:
    index = block.allocations[ordinal]
    if index is None:
        return None
    found = block.attributes[index]
    number = block.sequence_number_for_allocation.get(str(ordinal))
    return Holder(found.handle_id, found.secondary, number)


def allocated(block: IPAMBlockSpec) -> Iterator[tuple[int, Holder]]:
    """Ordinals in use, ascending, with their holders."""
    for ordinal, index in enumerate(block.allocations):
        if index is not None:
            holder = holder_of(block, ordinal)
            if holder is not None:
                yield ordinal, holder


def release(block: IPAMBlockSpec, ordinals: Iterable[int]) -> dict[str | None, int]:
    """Frees ``ordinals`` (duplicates and free ones are ignored); returns how many each handle gave back."""
    freed: dict[str | None, int] = {}
    for ordinal in ordinals:
        holder = holder_of(block, ordinal)
        if holder is None:
            continue
        block.allocations[ordinal] = None
        block.unallocated.append(ordinal)
        block.sequence_number_for_allocation.pop(str(ordinal), None)
        freed[holder.handle] = freed.get(holder.handle, 0) + 1
    _compact(block)
    return freed


def release_handle(block: IPAMBlockSpec, handle: str) -> int:
    """Frees every address of ``handle``, ascending; returns how many."""
    mine = [ordinal for ordinal, holder in allocated(block) if same_handle(holder.handle, handle)]
    for ordinal in mine:
        block.allocations[ordinal] = None
        block.unallocated.append(ordinal)
    _compact(block)
    return len(mine)


def same_handle(one: str | None, other: str) -> bool:
    """The Kubernetes datastore keeps handles under lower-case names; their records have the handle as it was given."""
    return one == other


def _compact(block: IPAMBlockSpec) -> None:
    """Drops attributes that no allocation refers to and renumbers the rest."""
    used = {index for index in block.allocations if index is not None}
    if len(used) == len(block.attributes):
        return
    renumbered = {old: new for new, old in enumerate(sorted(used))}
    block.attributes = [block.attributes[old] for old in sorted(used)]
    block.allocations = [None if index is None else renumbered[index] for index in block.allocations]


def is_empty(block: IPAMBlockSpec) -> bool:
    """Whether nobody holds an address; those reserved for Windows hosts do not count."""
    return all(
        holder.handle is not None and holder.handle.lower() == WINDOWS_HANDLE
        for _, holder in allocated(block)
    )


def free(block: IPAMBlockSpec, reservations: Reservations = NONE) -> int:
    """How many addresses automatic assignment could take."""
    if not reservations:
        return len(block.unallocated)
    first, version = base_of(block)
    return sum(not reservations.reserves(first + ordinal, version) for ordinal in block.unallocated)
