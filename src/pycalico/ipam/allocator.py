"""Assigning and releasing addresses.

One Allocator may be used by several threads; any number of allocators, ours and upstream's, may work on one
datastore at once. Order of writes: handle, then block; on release: block, then handle. Whatever crashes in
between leaves a handle that claims too much, which the next release or the node controller puts right.
"""

from __future__ import annotations

import ipaddress
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence

import msgspec

from pycalico.api.v3.ipam import IPAMBlock, IPAMConfig
from pycalico.datastore.errors import AlreadyExists, Conflict, NotFound
from pycalico.ipam import block as blocks
from pycalico.ipam import pools as poolchoice
from pycalico.ipam.affinity import Affinities
from pycalico.ipam.block import Holder, Release
from pycalico.ipam.errors import (
    AffinityConflict,
    AffinityMismatch,
    BlockLimit,
    BlockNotEmpty,
    IPAMError,
    NoFreeBlocks,
    NotAllocated,
    ReleaseConflict,
    StaleAffinity,
    TooManyConflicts,
)
from pycalico.ipam.pools import WORKLOAD, Pool
from pycalico.ipam.records import RETRIES, Records, cidr_of
from pycalico.ipam.reservations import Reservations
from pycalico.ipam.sequence import Network
from pycalico.ipam.sequence import blocks as block_sequence

log = logging.getLogger(__name__)

#: Blocks per host when neither request nor configuration says otherwise.
MAX_BLOCKS = 20


class Assignment(msgspec.Struct):
    """The outcome for one family: addresses with their block's prefix length, perhaps fewer than asked for."""

    version: int
    requested: int
    addresses: list[str] = []
    messages: list[str] = []

    @property
    def complete(self) -> bool:
        return len(self.addresses) == self.requested

    def shortfall(self) -> str:
        """Upstream's sentence about a partial outcome."""
        text = f"Assigned {len(self.addresses)} out of {self.requested} requested IPv{self.version} addresses"
        return "; ".join([text, *dict.fromkeys(self.messages)])


class Allocator:
    """Everything that IPAM does, over a datastore client."""

    def __init__(self, client: Records | object) -> None:
        self.records = client if isinstance(client, Records) else Records(client)  # type: ignore[arg-type]
        self._affinities = Affinities(self.records)

    # ---- assigning -------------------------------------------------------------------------------------

    def auto_assign(
        self,
        num4: int,
        num6: int,
        handle: str | None,
        attributes: Mapping[str, str],
        host: str,
        *,
        pools4: Sequence[str] = (),
        pools6: Sequence[str] = (),
        max_blocks: int = 0,
        use: str = WORKLOAD,
    ) -> tuple[Assignment, Assignment]:
        """Takes addresses for ``host``, IPv4 first. ``pools*`` are CIDRs that must be used if given.

        Raises IPAMError or DatastoreError; addresses assigned before an error stay with the handle.
        """
        for wanted, version, family in ((pools4, 4, 6), (pools6, 6, 4)):
            if any(ipaddress.ip_network(cidr, strict=False).version != version for cidr in wanted):
                raise IPAMError(
                    f"provided IPv{version} IPPools list contains one or more IPv{family} IPPools"
                )
        outcomes = []
        for count, version, wanted in ((num4, 4, pools4), (num6, 6, pools6)):
            outcome = Assignment(version, count)
            if count:
                request = _Request(self, host, handle, attributes, version, wanted, max_blocks, use)
                request.fill(outcome)
            outcomes.append(outcome)
        return outcomes[0], outcomes[1]

    def assign_ip(self, address: str, handle: str | None, attributes: Mapping[str, str], host: str) -> None:
        """Takes one given address, claiming its block if nobody has it. Raises AlreadyAssigned and IPAMError."""
        ip = ipaddress.ip_address(address)
        pool = next((p for p in self.records.pools() if not p.disabled and _within(ip, p.cidr)), None)
        if pool is None:
            raise IPAMError("The provided IP address is not in a configured pool\n")
        cidr = ipaddress.ip_network(f"{ip}/{pool.block_size}", strict=False)
        for _ in range(RETRIES):
            found = self.records.block(cidr)
            if found is None:
                try:
                    found = self._affinities.claim(self._affinities.pending(host, cidr), cidr)
                except (Conflict, AffinityConflict, StaleAffinity):
                    continue
            if self.records.config().spec.strict_affinity and blocks.owner(found.spec) != host:
                blocks.check_affinity(found.spec, host)
            blocks.assign_address(found.spec, int(ip), handle, attributes)
            if self._write_assigned(found, handle, 1):
                return
        raise TooManyConflicts

    def ensure_block(self, host: str, version: int, pools: Sequence[str] = ()) -> Network:
        """Makes sure that ``host`` has a block of the family and returns it."""
        request = _Request(self, host, None, {}, version, pools, 0, WORKLOAD)
        return blocks.network(request.own_block(0).spec)

    def _write_assigned(self, found: IPAMBlock, handle: str | None, count: int) -> bool:
        """Writes handle and block; False when another writer was faster, with the handle put back."""
        if handle is not None:
            self.records.raise_handle(handle, found.spec.cidr, count)
        try:
            self.records.write_block(found)
        except (Conflict, NotFound):
            if handle is not None:
                self.records.lower_handle(handle, found.spec.cidr, count)
            return False
        return True

    # ---- releasing -------------------------------------------------------------------------------------

    def release_by_handle(self, handle: str) -> int:
        """Frees every address of ``handle``; returns how many. Raises NotFound when there is no such handle."""
        found = self.records.handle(handle)
        if found is None:
            from pycalico.api.meta import Key  # noqa: PLC0415

            raise NotFound(Key("IPAMHandle", "", handle))
        return sum(
            self._release_handle(handle, ipaddress.ip_network(cidr), count)
            for cidr, count in list(found.spec.block.items())
        )

    def _release_handle(self, handle: str, cidr: Network, claimed: int) -> int:
        for _ in range(RETRIES):
            found = self.records.block(cidr)
            freed = blocks.release_handle(found.spec, handle) if found is not None else 0
            if found is None or not freed:
                # The handle claims what it does not have: an assignment that never reached its block.
                self.records.lower_handle(handle, str(cidr), claimed)
                return 0
            if self._write_released(found):
                self.records.lower_handle(handle, str(cidr), max(freed, claimed))
                return freed
        raise TooManyConflicts

    def release_ips(self, releases: Iterable[Release | str]) -> list[str]:
        """Frees addresses; returns those that were not allocated.

        Raises Conflict, with that block untouched, when a given handle or sequence number is not the holder's.
        """
        wanted = [Release(item) if isinstance(item, str) else item for item in releases]
        if any(not item.address for item in wanted):
            raise IPAMError("No IP address specified in options")
        pools = self.records.pools()
        known: list[IPAMBlock] | None = None
        unallocated: list[str] = []
        by_block: dict[Network, list[Release]] = {}
        for item in wanted:
            ip = ipaddress.ip_address(item.address)
            pool = next((p for p in pools if not p.disabled and _within(ip, p.cidr)), None)
            if pool is not None:
                cidr = ipaddress.ip_network(f"{ip}/{pool.block_size}", strict=False)
            else:
                known = self.records.blocks() if known is None else known
                home = next((b for b in known if _within(ip, blocks.network(b.spec))), None)
                if home is None:
                    unallocated.append(item.address)
                    continue
                cidr = blocks.network(home.spec)
            by_block.setdefault(cidr, []).append(item)
        for cidr, items in by_block.items():
            unallocated += self._release_from(cidr, items)
        return unallocated

    def _release_from(self, cidr: Network, items: list[Release]) -> list[str]:
        for _ in range(RETRIES):
            found = self.records.block(cidr)
            if found is None:
                return [item.address for item in items]
            missing, ordinals = self._matching(found, items)
            freed = blocks.release(found.spec, ordinals)
            if not freed:
                return missing
            if self._write_released(found):
                for handle, count in freed.items():
                    if handle is not None:
                        self.records.lower_handle(handle, str(cidr), count)
                return missing
        raise TooManyConflicts

    def _matching(self, found: IPAMBlock, items: list[Release]) -> tuple[list[str], list[int]]:
        first, _ = blocks.base_of(found.spec)
        missing, ordinals = [], []
        for item in items:
            ordinal = int(ipaddress.ip_address(item.address)) - first
            holder = blocks.holder_of(found.spec, ordinal)
            if holder is None:
                missing.append(item.address)
                continue
            if item.sequence_number is not None and item.sequence_number != (holder.sequence_number or 0):
                raise ReleaseConflict(found.key, item.address)
            if item.handle is not None and not blocks.same_handle(holder.handle, item.handle):
                raise ReleaseConflict(found.key, item.address)
            ordinals.append(ordinal)
        return missing, ordinals

    def _write_released(self, found: IPAMBlock) -> bool:
        """Writes the block, or deletes it when nothing and nobody is left; then looks after its affinity."""
        try:
            if blocks.is_empty(found.spec) and found.spec.affinity is None:
                self.records.delete_block(found)
            else:
                self.records.write_block(found)
        except Conflict:
            return False
        except NotFound:
            return True
        self._drop_unwanted_affinity(found)
        return True

    def _drop_unwanted_affinity(self, found: IPAMBlock) -> None:
        """An empty block whose pool no longer selects its host goes back to the pool."""
        host = blocks.owner(found.spec)
        if host is None or not blocks.is_empty(found.spec):
            return
        cidr = blocks.network(found.spec)
        try:
            node = self.records.node(host)
            pool = poolchoice.holding(self.records.pools(), cidr)
            if pool is not None and not pool.selects(node.metadata.labels):
                self._affinities.release(host, cidr, must_be_empty=True)
        except (NotFound, IPAMError) as error:
            log.debug("affinity of %s to %s left as it is: %s", host, cidr, error)

    # ---- affinities of hosts ----------------------------------------------------------------------------

    def claim_affinity(self, cidr: str, host: str) -> tuple[list[str], list[str]]:
        """Claims every block within ``cidr`` for ``host``: returns those claimed and those that others hold."""
        wanted = ipaddress.ip_network(cidr)
        pool = poolchoice.holding(self.records.pools(), wanted)
        if pool is None:
            raise IPAMError(f"The requested CIDR ({cidr}) is not within any configured pools.")
        if wanted.prefixlen > pool.block_size:
            raise IPAMError(f"The requested CIDR ({cidr}) is smaller than the minimum.")
        claimed, failed = [], []
        for each in wanted.subnets(new_prefix=pool.block_size):
            try:
                self._claim(host, each)
                claimed.append(str(each))
            except (AffinityConflict, StaleAffinity):
                failed.append(str(each))
        return claimed, failed

    def release_affinity(self, cidr: str, host: str, *, must_be_empty: bool) -> None:
        """Gives the blocks of ``host`` within ``cidr`` back."""
        wanted = ipaddress.ip_network(cidr)
        for affinity in self.records.affinities(host, wanted.version):
            if cidr_of(affinity).subnet_of(wanted):  # type: ignore[arg-type]
                self._affinities.release(host, cidr_of(affinity), must_be_empty=must_be_empty)

    def release_block_affinity(self, cidr: str, host: str, *, must_be_empty: bool) -> None:
        self._affinities.release(host, ipaddress.ip_network(cidr), must_be_empty=must_be_empty)

    def release_host_affinities(self, host: str, *, must_be_empty: bool) -> None:
        """Gives all blocks of ``host`` back; goes on after one that is not empty, then raises BlockNotEmpty."""
        kept: BlockNotEmpty | None = None
        for affinity in self.records.affinities(host):
            try:
                self._affinities.release(host, cidr_of(affinity), must_be_empty=must_be_empty)
            except BlockNotEmpty as error:
                kept = error
            except AffinityConflict as error:
                log.info("affinity of %s was stale: %s", host, error)
        if kept is not None:
            raise kept

    def release_pool_affinities(self, pool: str) -> None:
        """Takes every block within ``pool`` (a CIDR) from its host."""
        cidr = ipaddress.ip_network(pool, strict=False)
        for found in self.records.blocks():
            host = blocks.owner(found.spec)
            here = blocks.network(found.spec)
            if host is not None and here.version == cidr.version and here.subnet_of(cidr):  # type: ignore[arg-type]
                try:
                    self._affinities.release(host, here, must_be_empty=False)
                except IPAMError as error:
                    log.info("affinity of %s to %s: %s", host, here, error)

    def remove_host(self, host: str) -> None:
        """Gives all blocks of ``host`` back, in use or not, and drops the datastore's record of it."""
        self.release_host_affinities(host, must_be_empty=False)
        self.records.host_removed(host)

    def _claim(self, host: str, cidr: Network) -> IPAMBlock:
        for _ in range(RETRIES):
            try:
                return self._affinities.claim(self._affinities.pending(host, cidr), cidr)
            except Conflict:
                continue
        raise TooManyConflicts

    # ---- looking up --------------------------------------------------------------------------------------

    def ips_by_handle(self, handle: str) -> list[str]:
        """The addresses that ``handle`` really holds. Raises NotFound when there is no such handle."""
        found = self.records.handle(handle)
        if found is None:
            from pycalico.api.meta import Key  # noqa: PLC0415

            raise NotFound(Key("IPAMHandle", "", handle))
        held = []
        for cidr in found.spec.block:
            block = self.records.block(ipaddress.ip_network(cidr))
            if block is None:
                continue
            first, version = blocks.base_of(block.spec)
            held += [
                blocks.text(first + ordinal, version)
                for ordinal, holder in blocks.allocated(block.spec)
                if blocks.same_handle(holder.handle, handle)
            ]
        return held

    def assignment_attributes(self, address: str) -> Holder:
        """Who holds ``address``. Raises NotAllocated."""
        ip = ipaddress.ip_address(address)
        pool = next((p for p in self.records.pools() if _within(ip, p.cidr)), None)
        if pool is None:
            raise NotAllocated(f"{ip} is not part of a configured pool")
        found = self.records.block(ipaddress.ip_network(f"{ip}/{pool.block_size}", strict=False))
        if found is None:
            raise NotAllocated(f"{ip} is not assigned")
        first, _ = blocks.base_of(found.spec)
        holder = blocks.holder_of(found.spec, int(ip) - first)
        if holder is None:
            raise NotAllocated(f"{ip} is not assigned")
        return holder

    def config(self) -> IPAMConfig:
        return self.records.config()

    def set_config(self, config: IPAMConfig) -> IPAMConfig:
        """Raises IPAMError for combinations that could assign nothing."""
        spec = config.spec
        if not spec.strict_affinity and not spec.auto_allocate_blocks:
            raise IPAMError("Cannot disable 'StrictAffinity' and 'AutoAllocateBlocks' at the same time")
        if spec.max_blocks_per_host and not spec.strict_affinity:
            raise IPAMError("MaxBlocksPerHost requires StrictAffinity to be enabled")
        return self.records.client.update(config)


class _Request:
    """One family's share of one auto-assign."""

    def __init__(
        self,
        allocator: Allocator,
        host: str,
        handle: str | None,
        attributes: Mapping[str, str],
        version: int,
        requested: Sequence[str],
        max_blocks: int,
        use: str,
    ) -> None:
        if not use:
            raise IPAMError("must specify the intended use when assigning an IP")
        self._allocator = allocator
        self._records = allocator.records
        self._host, self._handle, self._attributes = host, handle, attributes
        self._version = version
        labels = self._records.node(host).metadata.labels
        pools = self._records.pools()
        self._config = self._records.config().spec
        self._reserved: Reservations = self._records.reservations()
        self._pools: list[Pool] = poolchoice.choose(pools, requested, host, labels, version, use)
        limits = [limit for limit in (max_blocks, self._config.max_blocks_per_host) if limit]
        self._max_blocks = min(limits) if limits else MAX_BLOCKS
        self._mine: list[Network] = []
        self._sort_affinities(pools, labels)
        self._owned = len(self._mine)

    def _sort_affinities(self, pools: Sequence[Pool], labels: Mapping[str, str]) -> None:
        """Blocks of the chosen pools are used; empty ones of pools that do not want this host go back."""
        for affinity in self._records.affinities(self._host, self._version):
            cidr = cidr_of(affinity)
            if any(pool.contains(cidr) for pool in self._pools):
                self._mine.append(cidr)
                continue
            home = poolchoice.holding(pools, cidr)
            if home is not None and home.selects(labels):
                continue
            try:
                self._allocator.release_block_affinity(str(cidr), self._host, must_be_empty=True)
            except (IPAMError, NotFound) as error:
                log.debug("block %s stays: %s", cidr, error)

    def fill(self, outcome: Assignment) -> None:
        self._from_own_blocks(outcome)
        if not outcome.complete and self._config.strict_affinity:
            outcome.messages.append("No more free affine blocks and strict affinity enabled")
        elif not outcome.complete:
            self._borrow(outcome)

    def _from_own_blocks(self, outcome: Assignment) -> None:
        for _ in range(RETRIES):
            if outcome.complete:
                return
            try:
                found = self.own_block(1)
            except NoFreeBlocks:
                cidrs = " ".join(str(pool.cidr) for pool in self._pools)
                outcome.messages.append(f"No IPs available in pools: [{cidrs}]")
                return
            self._take(found, outcome)
        raise TooManyConflicts

    def own_block(self, min_free: int) -> IPAMBlock:
        """A block of this host with that many free addresses: one it has, else a newly claimed one."""
        while self._mine:
            cidr = self._mine[0]
            found = None if self._reserved.covers(cidr) else self._load(cidr)
            if found is not None and blocks.free(found.spec, self._reserved) >= min_free:
                return found
            self._mine.pop(0)
        if self._owned >= self._max_blocks:
            raise BlockLimit
        if not self._config.auto_allocate_blocks:
            raise IPAMError("failed to find or claim a block")
        for _ in range(RETRIES):
            cidr = self._unclaimed()
            try:
                found = self._allocator._claim(self._host, cidr)  # noqa: SLF001 - two halves of one thing
            except (AffinityConflict, StaleAffinity):
                continue
            self._owned += 1
            self._mine.append(cidr)
            if blocks.free(found.spec, self._reserved) >= min_free:
                return found
        raise TooManyConflicts

    def _load(self, cidr: Network) -> IPAMBlock | None:
        """An affine block, its claim finished if it was half done; None when it turns out not to be ours."""
        for _ in range(RETRIES):
            affinity = self._records.affinity(self._host, cidr)
            if affinity is None:
                return None
            try:
                return self._allocator._affinities.claim(affinity, cidr)  # noqa: SLF001
            except Conflict:
                continue
            except (AffinityConflict, StaleAffinity):
                return None
        raise TooManyConflicts

    def _unclaimed(self) -> Network:
        """The first block in this host's order that is free to claim. Raises NoFreeBlocks."""
        existing = {blocks.network(found.spec): found for found in self._records.blocks()}
        taken = sorted(
            (int(cidr.network_address), int(cidr.broadcast_address))
            for cidr in existing
            if cidr.version == self._version
        )
        for pool in self._pools:
            for cidr in block_sequence(pool.cidr, pool.block_size, self._host):
                if self._reserved.covers(cidr):
                    continue
                found = existing.get(cidr)
                if found is None:
                    # Compared as ranges: a pool's block size may have been different before.
                    if not _overlaps(taken, cidr):
                        return cidr
                elif blocks.owner(found.spec) == self._host and blocks.free(found.spec, self._reserved):
                    return cidr
        raise NoFreeBlocks

    def _take(self, found: IPAMBlock, outcome: Assignment) -> None:
        """Assigns what is missing from one of this host's blocks; on a lost race the block is simply tried again."""
        missing = outcome.requested - len(outcome.addresses)
        try:
            blocks.check_affinity(found.spec, self._host)
        except AffinityMismatch:
            return
        addresses = blocks.assign(found.spec, missing, self._handle, self._attributes, self._reserved)
        if addresses and self._allocator._write_assigned(found, self._handle, len(addresses)):  # noqa: SLF001
            outcome.addresses += _with_prefix(addresses, found)

    def _borrow(self, outcome: Assignment) -> None:
        """Takes addresses from blocks of other hosts, in this host's order."""
        known = {blocks.network(found.spec) for found in self._records.blocks()}
        for pool in self._pools:
            for cidr in self._existing(pool, known):
                for _ in range(RETRIES):
                    if outcome.complete:
                        return
                    found = self._records.block(cidr)
                    if found is None:
                        break
                    missing = outcome.requested - len(outcome.addresses)
                    addresses = blocks.assign(
                        found.spec, missing, self._handle, self._attributes, self._reserved
                    )
                    if not addresses:
                        break
                    if self._allocator._write_assigned(found, self._handle, len(addresses)):  # noqa: SLF001
                        outcome.addresses += _with_prefix(addresses, found)

    def _existing(self, pool: Pool, known: set[Network]) -> Iterator[Network]:
        """The pool's existing blocks in this host's order, without visiting those that do not exist."""
        mine = [cidr for cidr in known if pool.contains(cidr) and cidr.prefixlen == pool.block_size]
        start = next(block_sequence(pool.cidr, pool.block_size, self._host))
        mine.sort(key=lambda cidr: (cidr < start, cidr))  # type: ignore[operator]
        yield from mine


def _with_prefix(addresses: list[str], found: IPAMBlock) -> list[str]:
    length = found.spec.cidr.split("/")[1]
    return [f"{address}/{length}" for address in addresses]


def _within(ip: ipaddress.IPv4Address | ipaddress.IPv6Address, cidr: Network) -> bool:
    return ip.version == cidr.version and ip in cidr


def _overlaps(taken: list[tuple[int, int]], cidr: Network) -> bool:
    from bisect import bisect_right  # noqa: PLC0415

    first, last = int(cidr.network_address), int(cidr.broadcast_address)
    position = bisect_right(taken, (last, 1 << 129)) - 1
    return position >= 0 and taken[position][1] >= first


__all__ = ["Allocator", "AlreadyExists", "Assignment", "Release"]
