"""The records of IPAM. Their forms differ between the datastores; these are the CRD forms."""

from __future__ import annotations

import msgspec

from pycalico.api.meta import Resource, kind_field
from pycalico.api.wire import Struct, kept_dict, kept_list


class AllocationAttribute(Struct):
    """Who holds an address; shared by all addresses with equal handle and attributes.

    ``released_at`` (RFC 3339): nobody does, and until it has rested nobody gets it. Calico has it from v3.33 on.
    """

    handle_id: str | None = msgspec.field(default=None, name="handle_id")
    secondary: dict[str, str] = {}
    released_at: str | None = None


class IPAMBlockSpec(Struct):
    """One block of addresses.

    ``affinity`` is ``host:<node>`` or None. ``allocations`` has one entry per address: an index into
    ``attributes``, or None when free. ``unallocated`` is a queue: taken from the head, returned to the tail.
    Sequence numbers exceed 2**53.
    """

    cidr: str = msgspec.field(default_factory=str)
    affinity: str | None = None
    allocations: list[int | None] = msgspec.field(default_factory=kept_list)
    unallocated: list[int] = msgspec.field(default_factory=kept_list)
    attributes: list[AllocationAttribute] = msgspec.field(default_factory=kept_list)
    sequence_number: int = msgspec.field(default_factory=int)
    sequence_number_for_allocation: dict[str, int] = msgspec.field(default_factory=kept_dict)
    deleted: bool = msgspec.field(default_factory=bool)
    strict_affinity: bool = msgspec.field(default_factory=bool)


class IPAMBlock(Resource):
    kind: str = kind_field("IPAMBlock")
    spec: IPAMBlockSpec = msgspec.field(default_factory=IPAMBlockSpec)


class BlockAffinitySpec(Struct):
    """``state`` is pending, confirmed or pendingDeletion; ``deleted`` is the *string* true or false."""

    state: str = msgspec.field(default_factory=str)
    node: str = msgspec.field(default_factory=str)
    cidr: str = msgspec.field(default_factory=str)
    deleted: str = msgspec.field(default_factory=lambda: "false")


class BlockAffinity(Resource):
    kind: str = kind_field("BlockAffinity")
    spec: BlockAffinitySpec = msgspec.field(default_factory=BlockAffinitySpec)


class IPAMHandleSpec(Struct):
    """``block``: how many addresses of each block (by CIDR) the handle was given; an upper bound."""

    handle_id: str = msgspec.field(default_factory=str)
    block: dict[str, int] = msgspec.field(default_factory=kept_dict)
    deleted: bool = msgspec.field(default_factory=bool)


class IPAMHandle(Resource):
    kind: str = kind_field("IPAMHandle")
    spec: IPAMHandleSpec = msgspec.field(default_factory=IPAMHandleSpec)


class IPAMConfigSpec(Struct):
    """``ip_cooldown_seconds``: how long a released address rests; 0 is not at all, as before Calico v3.33."""

    strict_affinity: bool = msgspec.field(default_factory=bool)
    auto_allocate_blocks: bool = msgspec.field(default_factory=bool)
    max_blocks_per_host: int = 0
    ip_cooldown_seconds: int = 0


class IPAMConfig(Resource):
    kind: str = kind_field("IPAMConfig")
    spec: IPAMConfigSpec = msgspec.field(default_factory=IPAMConfigSpec)
