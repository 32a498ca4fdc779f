"""IPAM's records in the datastore: reads, and writes by compare-and-swap."""

from __future__ import annotations

import ipaddress

from pycalico.api import names
from pycalico.api.meta import ObjectMeta
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
from pycalico.datastore.client import Client
from pycalico.datastore.errors import AlreadyExists, Conflict, DatastoreError, NotFound, NotSupported
from pycalico.ipam import pools
from pycalico.ipam.errors import IPAMError, TooManyConflicts
from pycalico.ipam.reservations import Reservations
from pycalico.ipam.sequence import Network

#: How often a lost race is tried again.
RETRIES = 100
PENDING, CONFIRMED, PENDING_DELETION = "pending", "confirmed", "pendingDeletion"
_CONFIG_NAME = "default"


class Records:
    """All methods raise DatastoreError; writes raise Conflict when the record changed since it was read."""

    def __init__(self, client: Client) -> None:
        self.client = client

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
            return self.client.get(IPAMBlock, names.block(str(cidr)))
        except NotFound:
            return None

    def blocks(self) -> list[IPAMBlock]:
        return [block for block in self.client.list(IPAMBlock).items if not block.spec.deleted]

    def create_block(self, block: IPAMBlock) -> IPAMBlock:
        return self.client.create(block)

    def write_block(self, block: IPAMBlock) -> IPAMBlock:
        """Every write moves the sequence number on."""
        block.spec.sequence_number += 1
        return self.client.update(block)

    def delete_block(self, block: IPAMBlock) -> None:
        self.client.delete(IPAMBlock, block.metadata.name, revision=block.metadata.resource_version)

    # ---- affinities ----

    def affinity(self, host: str, cidr: Network) -> BlockAffinity | None:
        try:
            return self.client.get(BlockAffinity, names.affinity(host, str(cidr)))
        except NotFound:
            return None

    def affinities(self, host: str, version: int | None = None) -> list[BlockAffinity]:
        return [
            found
            for found in self.client.list(BlockAffinity).items
            if found.spec.node == host and (version is None or cidr_of(found).version == version)
        ]

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

        A handle is usually new, so it is made without looking first.
        """
        for _ in range(RETRIES):
            try:
                spec = IPAMHandleSpec(handle_id=handle, block={cidr: count})
                self.client.create(IPAMHandle(metadata=ObjectMeta(name=handle), spec=spec))
                return
            except AlreadyExists:
                found = self.handle(handle)
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
        for _ in range(RETRIES):
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


def cidr_of(affinity: BlockAffinity) -> Network:
    return ipaddress.ip_network(affinity.spec.cidr)


__all__ = ["CONFIRMED", "PENDING", "PENDING_DELETION", "RETRIES", "DatastoreError", "Records", "cidr_of"]
