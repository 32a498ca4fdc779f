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
from pycalico.ipam import sequence
from pycalico.ipam.errors import AffinityMismatch, AlreadyAssigned, IPAMError
from pycalico.ipam.reservations import NONE, Reservations
from pycalico.ipam.sequence import Network

#: In the attributes of an address that rests, beside the field: a v3.28.1 writer, or its CRDs, drop the field.
RELEASED_AT = "releasedAt"
HOST_PREFIX = "host:"
WINDOWS_HANDLE = "windows-reserved-ipam-handle"
#: Sixteen times what a pool may ask for.
_MOST_ADDRESSES = 1 << 16


def new(cidr: Network, host: str | None) -> IPAMBlock:
    """An empty block of ``host``. Its sequence starts at the clock, so that a re-created block never repeats one.

    Raises IPAMError for one that no datastore would hold.
    """
    size = cidr.num_addresses
    if size > _MOST_ADDRESSES:
        raise IPAMError(f"block {cidr} would hold {size} addresses: give its pool a larger blockSize")
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
    return sequence.network(block.cidr)


def base_of(block: IPAMBlockSpec) -> tuple[int, int]:
    """First address as a number, and the family."""
    cidr = sequence.network(block.cidr, strict=False)
    return int(cidr.network_address), cidr.version


def text(address: int, version: int) -> str:
    return str(ipaddress.IPv4Address(address) if version == 4 else ipaddress.IPv6Address(address))


def check_affinity(block: IPAMBlockSpec, host: str) -> None:
    """Raises AffinityMismatch when the block is not ``host``'s."""
    if block.affinity is None:
        raise AffinityMismatch(f"Attempt to assign from block {block.cidr} with no affinity")
    if block.affinity != HOST_PREFIX + host:
        raise AffinityMismatch("Block host affinity does not match")


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
    _hold(block, taken, AllocationAttribute(handle_id=handle, secondary=dict(attributes)))
    return [text(first + ordinal, version) for ordinal in taken]


def assign_address(
    block: IPAMBlockSpec, address: int, handle: str | None, attributes: Mapping[str, str]
) -> None:
    """Takes one given address, also one that rests. Raises AlreadyAssigned."""
    first, version = base_of(block)
    ordinal = address - first
    if holder_of(block, ordinal) is not None:
        raise AlreadyAssigned(text(address, version))
    rested = block.allocations[ordinal] is not None
    if not rested:
        block.unallocated.remove(ordinal)
    _hold(block, [ordinal], AllocationAttribute(handle_id=handle, secondary=dict(attributes)))
    if rested:
        _compact(block)


def _hold(block: IPAMBlockSpec, ordinals: list[int], holder: AllocationAttribute) -> None:
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
    """None for an address that is free, or rests."""
    index = block.allocations[ordinal]
    if index is None:
        return None
    found = block.attributes[index]
    if rests(found):
        return None
    number = block.sequence_number_for_allocation.get(str(ordinal))
    return Holder(found.handle_id, found.secondary, number)


def allocated(block: IPAMBlockSpec) -> Iterator[tuple[int, Holder]]:
    """Ordinals in use, ascending, with their holders."""
    for ordinal, index in enumerate(block.allocations):
        if index is not None:
            holder = holder_of(block, ordinal)
            if holder is not None:
                yield ordinal, holder


def release(block: IPAMBlockSpec, ordinals: Iterable[int], *, rest: bool = False) -> dict[str | None, int]:
    """Frees ``ordinals`` (duplicates and free ones are ignored); returns how many each handle gave back.

    With ``rest`` nobody holds them any more, and they are not free either until `end_rest`.
    """
    freed: dict[str | None, int] = {}
    for ordinal in ordinals:
        holder = holder_of(block, ordinal)
        if holder is None:
            continue
        if rest:
            _lay_to_rest(block, [ordinal])
        else:
            block.allocations[ordinal] = None
            block.unallocated.append(ordinal)
            block.sequence_number_for_allocation.pop(str(ordinal), None)
        freed[holder.handle] = freed.get(holder.handle, 0) + 1
    _compact(block)
    return freed


def release_handle(block: IPAMBlockSpec, handle: str, *, rest: bool = False) -> int:
    """Frees every address of ``handle``, ascending; returns how many. ``rest`` as in `release`."""
    mine = [ordinal for ordinal, holder in allocated(block) if same_handle(holder.handle, handle)]
    if rest:
        _lay_to_rest(block, mine)
    else:
        for ordinal in mine:
            block.allocations[ordinal] = None
            block.unallocated.append(ordinal)
    _compact(block)
    return len(mine)


def rests(attribute: AllocationAttribute) -> bool:
    """Whether its addresses were released, and wait to be free."""
    return attribute.handle_id is None and bool(attribute.released_at or attribute.secondary.get(RELEASED_AT))


def has_resting(block: IPAMBlockSpec) -> bool:
    # Of a block's many holders hardly one has no handle, and this is asked at each read.
    return any(rests(found) for found in block.attributes if found.handle_id is None)


def rests_since_s(block: IPAMBlockSpec) -> float | None:
    """Unix time of the longest rest of an address of the block; None when none rests."""
    return min((_released_s(found) for found in block.attributes if rests(found)), default=None)


def end_rest(block: IPAMBlockSpec, released_before_s: float) -> bool:
    """Frees the addresses that were released up to then (Unix time); False when there are none."""
    ends = {
        index
        for index, found in enumerate(block.attributes)
        if rests(found) and _released_s(found) <= released_before_s
    }
    if not ends:
        return False
    for ordinal, index in enumerate(block.allocations):
        if index in ends:
            block.allocations[ordinal] = None
            block.unallocated.append(ordinal)
            block.sequence_number_for_allocation.pop(str(ordinal), None)
    _compact(block)
    return True


def _lay_to_rest(block: IPAMBlockSpec, ordinals: list[int]) -> None:
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    _hold(block, ordinals, AllocationAttribute(secondary={RELEASED_AT: now}, released_at=now))


def _released_s(attribute: AllocationAttribute) -> float:
    """A time that cannot be read has passed."""
    from datetime import datetime  # noqa: PLC0415 - most clusters let no address rest

    try:
        return datetime.fromisoformat(
            attribute.released_at or attribute.secondary.get(RELEASED_AT, "")
        ).timestamp()
    except ValueError:
        return 0.0


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
    """Whether nobody holds an address and none rests; those reserved for Windows hosts do not count."""
    used = (block.attributes[index] for index in block.allocations if index is not None)
    return all(found.handle_id is not None and found.handle_id.lower() == WINDOWS_HANDLE for found in used)


def free(block: IPAMBlockSpec, reservations: Reservations = NONE) -> int:
    """How many addresses automatic assignment could take."""
    if not reservations:
        return len(block.unallocated)
    first, version = base_of(block)
    return sum(not reservations.reserves(first + ordinal, version) for ordinal in block.unallocated)
