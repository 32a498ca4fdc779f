"""IPAM's records in the datastore: reads, and writes by compare-and-swap."""

from __future__ import annotations

import ipaddress
import logging
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol, runtime_checkable

from pycalico.api import names
from pycalico.api.meta import ObjectMeta, Resource
from pycalico.api.v3.ipam import (
    BlockAffinity,
    BlockAffinitySpec,
    IPAMBlock,
    IPAMConfig,
    IPAMConfigSpec,
    IPAMHandle,
    IPAMHandleSpec,
)
from pycalico.api.v3.ippool import IPPool
from pycalico.api.v3.ipreservation import IPReservation
from pycalico.api.v3.node import Node
from pycalico.datastore.client import Client, Write
from pycalico.datastore.errors import AlreadyExists, Conflict, Invalid, NotFound, NotSupported, Unauthorized
from pycalico.ipam import block as blocks
from pycalico.ipam import pools
from pycalico.ipam.errors import IPAMError, TooManyConflicts
from pycalico.ipam.reservations import Reservations
from pycalico.ipam.sequence import Network, network

log = logging.getLogger(__name__)

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
#: How often a lost race is tried again.
RETRIES = 100
_LONGEST_PAUSE_S = 0.25
PENDING, CONFIRMED, PENDING_DELETION = "pending", "confirmed", "pendingDeletion"
_CONFIG_NAME = "default"


@runtime_checkable
class Remembers(Protocol):
    """A client that answers reads of blocks and handles from what it read or wrote before."""

    def look_anew(self, since_s: float, at_once: Iterable[str] = ()) -> bool:
        """What was read or written before ``since_s`` (of `time.monotonic`) is read anew. False when nothing was.

        That is when somebody asks for it, but for the blocks whose names are in ``at_once``.
        """

    def forget(self, block: str) -> None:
        """The next read of the block of that name asks the datastore."""

    def is_full(self, block: str) -> bool:
        """Whether the block of that name is remembered, and has no address that is free or rests."""


@runtime_checkable
class KnowsHosts(Protocol):
    """A client that finds the affinities of one host without reading those of all."""

    def affinities_of(self, host: str) -> Sequence[BlockAffinity]: ...


class Records:
    """All methods raise DatastoreError; writes raise Conflict when the record changed since it was read."""

    def __init__(self, client: Client) -> None:
        self.client = client
        # Asked once: a look at a protocol takes long.
        self._memory = client if isinstance(client, Remembers) else None
        self._hosts = client if isinstance(client, KnowsHosts) else None

    def look_anew(self, since_s: float, at_once: Iterable[Network] = ()) -> bool:
        """To be tried before a caller is told "no": what the client remembers may be old. False when it was not.

        ``since_s``: of `time.monotonic`, when the caller came. What was read after that is as good as read now.
        ``at_once`` are blocks that many ask for: they are read here, and meanwhile found as they were.
        """
        if self._memory is None:
            return False
        return self._memory.look_anew(since_s, [names.block(str(cidr)) for cidr in at_once])

    def is_full(self, cidr: Network) -> bool:
        """As far as is known without asking the datastore."""
        return self._memory is not None and self._memory.is_full(names.block(str(cidr)))

    # ---- pools, nodes, reservations, configuration ----

    def pools(self) -> list[pools.Pool]:
        """In order of their names; an unparsable pool is left out."""
        found = []
        for resource in self.client.list(IPPool).items:
            try:
                found.append(pools.from_resource(resource))
            except ValueError:
                continue
        return found

    def node(self, host: str) -> Node:
        return self.client.get(Node, host)

    def reservations(self) -> Reservations:
        try:
            listed = self.client.list(IPReservation).items
        except NotFound:
            return Reservations(())
        return Reservations(cidr for item in listed for cidr in item.spec.reserved_cidrs)

    def config(self) -> IPAMConfig:
        """The configuration, created with its defaults on first use."""
        for _ in range(5):
            try:
                return self.client.get(IPAMConfig, _CONFIG_NAME)
            except NotFound:
                fresh = IPAMConfig(
                    metadata=ObjectMeta(name=_CONFIG_NAME), spec=IPAMConfigSpec(auto_allocate_blocks=True)
                )
                try:
                    return self.client.create(fresh)
                except AlreadyExists:
                    continue
        raise IPAMError("failed to get ipam config after 5 retries")

    # ---- blocks ----

    def block(self, cidr: Network) -> IPAMBlock | None:
        try:
            found = self.client.get(IPAMBlock, names.block(str(cidr)))
        except NotFound:
            return None
        self.end_rests([found])
        return found

    def reread(self, found: IPAMBlock) -> IPAMBlock | None:
        """As it is now, if the client may have had ``found`` from memory."""
        if self._memory is None:
            return found
        self._memory.forget(found.metadata.name)
        return self.block(cidr_of(found))

    def blocks(self) -> list[IPAMBlock]:
        found = [block for block in self.client.list(IPAMBlock).items if not block.spec.deleted]
        self.end_rests(found)
        return found

    def end_rests(self, found: Sequence[IPAMBlock]) -> bool:
        """Frees, in these copies, the addresses that have rested; the next write of a block has it. False: none had."""
        resting = [block for block in found if blocks.has_resting(block.spec)]
        rest_s = self.rest_s() if resting else None
        if rest_s is None:
            return False
        before_s = time.time() - rest_s
        ended = [blocks.end_rest(block.spec, before_s) for block in resting]
        return any(ended)

    def rest_s(self) -> int | None:
        """How long a released address rests; 0 is not at all. None for an account that may not know.

        Asked without making the configuration, which a release does not need.
        """
        try:
            return max(0, self.client.get(IPAMConfig, _CONFIG_NAME).spec.ip_cooldown_seconds)
        except NotFound:
            return 0
        except Unauthorized:
            return None

    def block_around(self, address: Address, block_size: int | None) -> IPAMBlock | None:
        """The block that has the address. ``block_size`` is that of its pool, which may have been another before."""
        if block_size is not None:
            found = self.block(ipaddress.ip_network(f"{address}/{block_size}", strict=False))
            if found is not None:
                return found
        return next((found for found in self.blocks() if _within(address, cidr_of(found))), None)

    def overlapping(self, cidr: Network) -> Network | None:
        """A block of another size that is in the way of a block ``cidr``."""
        existing = (cidr_of(found) for found in self.blocks())
        return next((other for other in existing if other != cidr and other.overlaps(cidr)), None)

    def create_block(self, block: IPAMBlock) -> IPAMBlock:
        return self.client.create(block)

    def write_block(self, block: IPAMBlock) -> IPAMBlock:
        """Every write moves the sequence number on."""
        block.spec.sequence_number += 1
        return self.client.update(block)

    def delete_block(self, block: IPAMBlock) -> None:
        self.client.delete(IPAMBlock, block.metadata.name, revision=block.metadata.resource_version)

    def do(self, write: Write) -> Resource:
        """One write on its own."""
        resource = write.resource
        if write.verb == "delete":
            revision = resource.metadata.resource_version
            self.client.delete(type(resource), resource.metadata.name, revision=revision)
            return resource
        return self.client.create(resource) if write.verb == "create" else self.client.update(resource)

    # ---- affinities ----

    def affinity(self, host: str, cidr: Network) -> BlockAffinity | None:
        try:
            return self.client.get(BlockAffinity, names.affinity(host, str(cidr)))
        except NotFound:
            return None

    def affinities(self, host: str, version: int | None = None) -> list[BlockAffinity]:
        if self._hosts is not None:
            listed = self._hosts.affinities_of(host)
        else:
            listed = [found for found in self.client.list(BlockAffinity).items if found.spec.node == host]
        return [found for found in listed if version is None or cidr_of(found).version == version]

    def create_affinity(self, host: str, cidr: Network, state: str) -> BlockAffinity:
        return self.client.create(
            BlockAffinity(
                metadata=ObjectMeta(name=names.affinity(host, str(cidr))),
                spec=BlockAffinitySpec(state=state, node=host, cidr=str(cidr)),
            )
        )

    def write_affinity(self, affinity: BlockAffinity, state: str) -> BlockAffinity:
        affinity.spec.state = state
        return self.client.update(affinity)

    def delete_affinity(self, affinity: BlockAffinity) -> None:
        try:
            self.client.delete(
                BlockAffinity, affinity.metadata.name, revision=affinity.metadata.resource_version
            )
        except NotFound:
            return

    # ---- handles ----

    def handle(self, handle: str) -> IPAMHandle | None:
        try:
            return self.client.get(IPAMHandle, handle)
        except NotFound:
            return None

    def raise_handle(self, handle: str, cidr: str, count: int) -> None:
        """Notes that ``handle`` holds ``count`` more addresses of the block. Done before the block is written, so that
        a crash between the two leaves a handle that claims too much, never one that forgets.

        A handle is usually new, so it is made without looking first. One that cannot be a name of the datastore has no
        record: its addresses are found in the blocks.
        """
        for _ in tries():
            try:
                spec = IPAMHandleSpec(handle_id=handle, block={cidr: count})
                self.client.create(IPAMHandle(metadata=ObjectMeta(name=handle), spec=spec))
                return
            except AlreadyExists:
                found = self.handle(handle)
            except Invalid as error:
                log.warning("handle %s gets no record of its own: %s", handle, error)
                return
            if found is None:
                continue
            found.spec.block[cidr] = found.spec.block.get(cidr, 0) + count
            try:
                self.client.update(found)
            except (Conflict, NotFound):
                continue
            return
        raise TooManyConflicts

    def lower_handle(self, handle: str, cidr: str, count: int) -> None:
        """The opposite; the handle goes with its last block."""
        for _ in tries():
            found = self.handle(handle)
            if found is None or cidr not in found.spec.block:
                return
            left = found.spec.block[cidr] - count
            if left > 0:
                found.spec.block[cidr] = left
            else:
                del found.spec.block[cidr]
            try:
                if found.spec.block:
                    self.client.update(found)
                else:
                    self.client.delete(
                        IPAMHandle, found.metadata.name, revision=found.metadata.resource_version
                    )
            except Conflict:
                continue
            except NotFound:
                return
            return
        raise TooManyConflicts

    def host_removed(self, host: str) -> None:
        """Lets a datastore that keeps a record per host drop it; others have nothing to do."""
        remove = getattr(self.client, "remove_ipam_host", None)
        if remove is not None:
            try:
                remove(host)
            except (NotFound, NotSupported):
                return


def tries() -> Iterator[int]:
    """Attempts at something that others may be faster at. The first losers go on at once; those who keep losing wait a
    short random while, so that they do not meet again.
    """
    for attempt in range(RETRIES):
        if attempt > 1:
            time.sleep(os.urandom(1)[0] / 255 * min(_LONGEST_PAUSE_S, 0.0005 * 2**attempt))
        yield attempt


def _within(address: Address, cidr: Network) -> bool:
    return address.version == cidr.version and address in cidr


def cidr_of(record: BlockAffinity | IPAMBlock) -> Network:
    return network(record.spec.cidr)


def block_write(block: IPAMBlock) -> Write:
    """A block that nobody uses and nobody owns goes. Every write moves the sequence number on."""
    if block.spec.affinity is None and blocks.is_empty(block.spec):
        return Write("delete", block)
    block.spec.sequence_number += 1
    return Write("update", block)
