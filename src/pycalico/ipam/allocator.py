"""Assigning and releasing addresses.

One Allocator may be used by several threads; any number of allocators, ours and upstream's, may work on one
datastore at once.
"""

from __future__ import annotations

import ipaddress
import logging
import time
from collections.abc import Iterable, Mapping, Sequence

from pycalico.api import names
from pycalico.api.meta import Key
from pycalico.api.v3.ipam import IPAMBlock, IPAMBlockSpec, IPAMConfig, IPAMHandle, IPAMHandleSpec
from pycalico.datastore.client import Client
from pycalico.datastore.errors import Conflict, NotFound
from pycalico.ipam import block as blocks
from pycalico.ipam import pools as poolchoice
from pycalico.ipam.affinity import Affinities
from pycalico.ipam.autoassign import Assignment, AutoAssign, Wanted
from pycalico.ipam.block import Holder, Release
from pycalico.ipam.commits import Change, Commits, Effect, SharedCommits
from pycalico.ipam.errors import (
    AffinityConflict,
    AlreadyAssigned,
    BlockInTheWay,
    BlockNotEmpty,
    IPAMError,
    NotAllocated,
    ReleaseConflict,
    StaleAffinity,
    TooManyConflicts,
)
from pycalico.ipam.pools import WORKLOAD, Pool
from pycalico.ipam.records import Address, Records, cidr_of, tries
from pycalico.ipam.sequence import Network

log = logging.getLogger(__name__)

#: Of a Kubernetes object.
_LONGEST_NAME = 253


class Allocator:
    """Everything that IPAM does, over a datastore client."""

    def __init__(self, client: Client, *, shared: bool = False) -> None:
        """``shared``: several threads will be at it at once, so that their writes are worth putting together."""
        self.records = Records(client)
        self._affinities = Affinities(self.records)
        self._commits = SharedCommits(self.records) if shared else Commits(self.records)

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
        for pools, version, family in ((pools4, 4, 6), (pools6, 6, 4)):
            if any(ipaddress.ip_network(cidr, strict=False).version != version for cidr in pools):
                raise IPAMError(
                    f"provided IPv{version} IPPools list contains one or more IPv{family} IPPools"
                )
        outcomes: list[Assignment] = []
        for count, version, pools in ((num4, 4, pools4), (num6, 6, pools6)):
            outcome = Assignment(version, count)
            if count:
                exists = any(each.addresses for each in outcomes)
                wanted = Wanted(host, version, use, handle, attributes, pools, max_blocks, exists)
                self._request(wanted).fill(outcome)
            outcomes.append(outcome)
        return outcomes[0], outcomes[1]

    def _request(self, wanted: Wanted) -> AutoAssign:
        return AutoAssign(self.records, self._affinities, self._commits, wanted)

    def assign_ip(self, address: str, handle: str | None, attributes: Mapping[str, str], host: str) -> None:
        """Takes one given address, claiming its block if nobody has it. Raises AlreadyAssigned and IPAMError."""
        began_s = time.monotonic()
        try:
            self._assign_ip(address, handle, attributes, host)
        except AlreadyAssigned:
            if not self.records.look_anew(began_s):
                raise
            self._assign_ip(address, handle, attributes, host)

    def _assign_ip(self, address: str, handle: str | None, attributes: Mapping[str, str], host: str) -> None:
        ip = ipaddress.ip_address(address)
        pool = next((p for p in self.records.pools() if not p.disabled and _within(ip, p.cidr)), None)
        if pool is None:
            raise IPAMError("The provided IP address is not in a configured pool\n")
        cidr = ipaddress.ip_network(f"{ip}/{pool.block_size}", strict=False)
        strict = self.records.config().spec.strict_affinity

        def apply(spec: IPAMBlockSpec) -> Effect:
            if strict:
                blocks.check_affinity(spec, host)
            blocks.assign_address(spec, int(ip), handle, attributes)
            return {handle: 1} if handle is not None else {}

        for attempt in tries():
            found = self.records.block_around(ip, pool.block_size)
            if found is None:
                self._check_nothing_in_the_way(cidr)
                try:
                    found = self._affinities.claim(self._affinities.pending(host, cidr), cidr)
                except (Conflict, AffinityConflict, StaleAffinity):
                    continue
            known = {handle: self.records.handle(handle)} if handle is not None and attempt else {}
            if self._commits.commit(found, Change(apply, (handle, 1) if handle is not None else None, known)):
                return
        raise TooManyConflicts

    def _check_nothing_in_the_way(self, cidr: Network) -> None:
        """Raises BlockInTheWay."""
        other = self.records.overlapping(cidr)
        if other is not None:
            raise BlockInTheWay(str(cidr), str(other))

    def ensure_block(self, host: str, version: int, pools: Sequence[str] = ()) -> Network:
        """Makes sure that ``host`` has a block of the family and returns it."""
        return cidr_of(self._request(Wanted(host, version, WORKLOAD, pools=pools)).own_block(0))

    # ---- releasing -------------------------------------------------------------------------------------

    def release_by_handle(self, handle: str, *, unused: bool = False) -> int:
        """Frees every address of ``handle``; returns how many. Raises NotFound when there is no such handle.

        Where the configuration lets released addresses rest, they do, unless they were ``unused``.
        """
        began_s = time.monotonic()
        found = self.records.handle(handle) or self._unrecorded(handle)
        if found is None:
            raise NotFound(Key("IPAMHandle", "", handle))
        rest = self._lets_rest(unused=unused)
        return sum(
            self._release_handle(found, ipaddress.ip_network(cidr), count, began_s, rest=rest)
            for cidr, count in list(found.spec.block.items())
        )

    def _unrecorded(self, handle: str) -> IPAMHandle | None:
        """What a handle holds that cannot have a record, since Kubernetes takes no object of such a name."""
        name = handle.lower()
        plain = name.replace("-", "").replace(".", "")
        if self.records.client.transacts or (
            len(name) <= _LONGEST_NAME
            and plain.isascii()
            and plain.isalnum()
            and name[0].isalnum()
            and name[-1].isalnum()
        ):
            return None
        held: dict[str, int] = {}
        for found in self.records.blocks():
            mine = sum(
                blocks.same_handle(holder.handle, handle) for _, holder in blocks.allocated(found.spec)
            )
            if mine:
                held[found.spec.cidr] = mine
        return IPAMHandle(spec=IPAMHandleSpec(handle_id=handle, block=held)) if held else None

    def _lets_rest(self, *, unused: bool) -> bool:
        return not unused and bool(self.records.rest_s())

    def _release_handle(
        self, holder: IPAMHandle, cidr: Network, claimed: int, began_s: float, *, rest: bool
    ) -> int:
        handle = holder.spec.handle_id or holder.metadata.name
        freed = 0

        def apply(spec: IPAMBlockSpec) -> Effect | None:
            nonlocal freed
            freed = blocks.release_handle(spec, handle, rest=rest)
            return {handle: -max(freed, claimed)} if freed else None

        # The handle as it was read is good for its first block only.
        known = {handle: holder} if len(holder.spec.block) == 1 else {}
        anew = False
        for _ in tries():
            found = self.records.block(cidr)
            change = Change(apply, known=known)
            if found is not None and not self._commits.commit(found, change):
                known = {}
                continue
            if not freed and not anew:
                anew = True
                if self.records.look_anew(began_s):
                    known = {}
                    continue
            if not freed:
                # The handle claims what it does not have: an assignment that never reached its block.
                self.records.lower_handle(handle, str(cidr), claimed)
            self._tidy(change)
            return freed
        raise TooManyConflicts

    def release_ips(self, releases: Iterable[Release | str], *, unused: bool = False) -> list[str]:
        """Frees addresses; returns those that were not allocated. ``unused`` as in `release_by_handle`.

        Raises Conflict, with that block untouched, when a given handle or sequence number is not the holder's.
        """
        wanted = [Release(item) if isinstance(item, str) else item for item in releases]
        if any(not item.address for item in wanted):
            raise IPAMError("No IP address specified in options")
        pools = self.records.pools()
        unallocated: list[str] = []
        by_block: dict[Network, list[Release]] = {}
        for item in wanted:
            ip = ipaddress.ip_address(item.address)
            pool = next((p for p in pools if not p.disabled and _within(ip, p.cidr)), None)
            home = self._block_of(ip, pool, by_block)
            if home is None:
                unallocated.append(item.address)
            else:
                by_block.setdefault(home, []).append(item)
        rest = self._lets_rest(unused=unused)
        for cidr, items in by_block.items():
            unallocated += self._release_surely(cidr, items, rest=rest)
        return unallocated

    def _release_surely(self, cidr: Network, items: list[Release], *, rest: bool) -> list[str]:
        """Looks again where an old memory may be the reason that something is not there, or is another's."""
        began_s = time.monotonic()
        try:
            missing = self._release_from(cidr, items, rest=rest)
        except (Conflict, ReleaseConflict):
            if not self.records.look_anew(began_s):
                raise
            return self._release_from(cidr, items, rest=rest)
        if missing and self.records.look_anew(began_s):
            return self._release_from(cidr, [item for item in items if item.address in missing], rest=rest)
        return missing

    def _block_of(self, ip: Address, pool: Pool | None, seen: Iterable[Network]) -> Network | None:
        cidr = next((each for each in seen if _within(ip, each)), None)
        if cidr is not None:
            return cidr
        found = self.records.block_around(ip, pool.block_size if pool is not None else None)
        return cidr_of(found) if found is not None else None

    def _release_from(self, cidr: Network, items: list[Release], *, rest: bool) -> list[str]:
        missing: list[str] = []

        def apply(spec: IPAMBlockSpec) -> Effect | None:
            missing[:], ordinals = _matching(spec, items)
            freed = blocks.release(spec, ordinals, rest=rest)
            return (
                {handle: -count for handle, count in freed.items() if handle is not None} if freed else None
            )

        for _ in tries():
            found = self.records.block(cidr)
            if found is None:
                return [item.address for item in items]
            change = Change(apply)
            if self._commits.commit(found, change):
                self._tidy(change)
                return missing
        raise TooManyConflicts

    def end_rests(self, cidr: str) -> bool:
        """Frees the addresses of a block that have rested long enough, and the block if nobody needs it then.

        They are free for whoever looks at the block in any case; this is for blocks that nobody looks at. False: none.
        """
        for _ in tries():
            try:
                found = self.records.client.get(IPAMBlock, names.block(cidr))
            except NotFound:
                return False
            if not self.records.end_rests([found]):
                return False
            change = Change(lambda _: {})
            if self._commits.commit(found, change):
                self._tidy(change)
                return True
        raise TooManyConflicts

    def _tidy(self, change: Change) -> None:
        """An empty block whose pool no longer selects its host goes back to the pool."""
        found = change.block
        host = blocks.owner(found.spec) if found is not None else None
        if found is None or host is None or not blocks.is_empty(found.spec):
            return
        cidr = cidr_of(found)
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
                self._check_nothing_in_the_way(each)
                self._affinities.claim_anew(host, each)
                claimed.append(str(each))
            except (AffinityConflict, StaleAffinity, BlockInTheWay):
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

    # ---- looking up --------------------------------------------------------------------------------------

    def ips_by_handle(self, handle: str) -> list[str]:
        """The addresses that ``handle`` really holds. Raises NotFound when there is no such handle."""
        found = self.records.handle(handle)
        if found is None:
            raise NotFound(Key("IPAMHandle", "", handle))
        handle = found.spec.handle_id or found.metadata.name
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
        found = self.records.block_around(ip, pool.block_size)
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


def _matching(spec: IPAMBlockSpec, items: list[Release]) -> tuple[list[str], list[int]]:
    """Addresses that nobody holds, and the ordinals of the others. Raises ReleaseConflict."""
    first, _ = blocks.base_of(spec)
    missing, ordinals = [], []
    for item in items:
        ordinal = int(ipaddress.ip_address(item.address)) - first
        holder = blocks.holder_of(spec, ordinal)
        if holder is None:
            missing.append(item.address)
            continue
        if item.sequence_number is not None and item.sequence_number != (holder.sequence_number or 0):
            raise ReleaseConflict(Key("IPAMBlock", "", names.block(spec.cidr)), item.address)
        if item.handle is not None and not blocks.same_handle(holder.handle, item.handle):
            raise ReleaseConflict(Key("IPAMBlock", "", names.block(spec.cidr)), item.address)
        ordinals.append(ordinal)
    return missing, ordinals


def _within(ip: Address, cidr: Network) -> bool:
    return ip.version == cidr.version and ip in cidr


__all__ = ["Allocator", "Assignment", "Release"]
