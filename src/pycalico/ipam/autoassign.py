"""One family's share of one automatic assignment: which pools, which blocks, which addresses."""

from __future__ import annotations

import logging
import time
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence

import msgspec

from pycalico.api.v3.ipam import IPAMBlock, IPAMBlockSpec
from pycalico.datastore.errors import NotFound
from pycalico.ipam import block as blocks
from pycalico.ipam import pools as poolchoice
from pycalico.ipam.affinity import Affinities
from pycalico.ipam.commits import Change, Commits, Effect
from pycalico.ipam.errors import (
    AffinityConflict,
    BlockLimit,
    IPAMError,
    NoFreeBlocks,
    StaleAffinity,
    TooManyConflicts,
)
from pycalico.ipam.pools import Pool
from pycalico.ipam.records import Records, cidr_of, tries
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


class Wanted(msgspec.Struct, frozen=True):
    """What is asked for. ``pools`` are CIDRs that must be used, if there are any."""

    host: str
    version: int
    use: str
    handle: str | None = None
    attributes: Mapping[str, str] = {}
    pools: Sequence[str] = ()
    max_blocks: int = 0
    #: The handle has addresses already.
    handle_exists: bool = False


class AutoAssign:
    """Raises IPAMError, DatastoreError."""

    def __init__(self, records: Records, affinities: Affinities, commits: Commits, wanted: Wanted) -> None:
        if not wanted.use:
            raise IPAMError("must specify the intended use when assigning an IP")
        self._began_s = time.monotonic()
        self._records, self._affinities, self._commits = records, affinities, commits
        self._wanted, self._host = wanted, wanted.host
        labels = records.node(wanted.host).metadata.labels
        pools = records.pools()
        self._reserved: Reservations = records.reservations()
        self._pools: list[Pool] = poolchoice.choose(
            pools, wanted.pools, wanted.host, labels, wanted.version, wanted.use
        )
        self._mine: list[Network] = []
        self._sort_affinities(pools, labels)
        # Made where there is none, so not before something can be assigned.
        self._config = records.config().spec
        limits = [limit for limit in (wanted.max_blocks, self._config.max_blocks_per_host) if limit]
        self._max_blocks = min(limits) if limits else MAX_BLOCKS
        self._look_up_handle = wanted.handle_exists
        #: All blocks of this host that this request has heard of.
        self._owned = set(self._mine)

    def _sort_affinities(self, pools: Sequence[Pool], labels: Mapping[str, str]) -> None:
        """Blocks of the chosen pools are used; empty ones of pools that do not want this host go back.

        Those of no enabled pool stay: the node controller gives them back in time.
        """
        for affinity in self._records.affinities(self._host, self._wanted.version):
            cidr = cidr_of(affinity)
            if any(pool.contains(cidr) for pool in self._pools):
                self._mine.append(cidr)
                continue
            home = poolchoice.holding(pools, cidr)
            try:
                if home is not None and not home.selects(labels):
                    self._affinities.release(self._host, cidr, must_be_empty=True)
            except (IPAMError, NotFound) as error:
                log.debug("block %s stays: %s", cidr, error)

    def fill(self, outcome: Assignment) -> None:
        self._from_own_blocks(outcome)
        if not outcome.complete and self._config.strict_affinity:
            outcome.messages.append("No more free affine blocks and strict affinity enabled")
        elif not outcome.complete:
            self._borrow(outcome)

    def _from_own_blocks(self, outcome: Assignment) -> None:
        for _ in tries():
            if outcome.complete:
                return
            try:
                found = self.own_block(1)
            except NoFreeBlocks:
                return
            self._take(found, outcome, own=True)
        raise TooManyConflicts

    def own_block(self, min_free: int) -> IPAMBlock:
        """A block of this host with that many free addresses: one it has, else a newly claimed one."""
        while True:
            found = self._own_with(min_free)
            if found is not None:
                return found
            with self._commits.claiming:
                # Another caller of this process may have claimed one meanwhile.
                affine = list(self._affine())
                self._mine = [cidr for cidr in affine if cidr not in self._owned]
                self._owned |= set(self._mine)
                if self._mine:
                    continue
                if self._records.look_anew(self._began_s, affine):
                    # Others may have given addresses back.
                    self._mine = affine
                return self._own_with(min_free) or self._claimed(min_free)

    def _own_with(self, min_free: int) -> IPAMBlock | None:
        while self._mine:
            cidr = self._mine[0]
            useless = self._reserved.covers(cidr) or (min_free > 0 and self._records.is_full(cidr))
            found = None if useless else self._affinities.load(self._host, cidr)
            if found is not None and blocks.free(found.spec, self._reserved) >= min_free:
                return found
            self._mine.pop(0)
        return None

    def _claimed(self, min_free: int) -> IPAMBlock:
        if len(self._owned) >= self._max_blocks:
            raise BlockLimit
        if not self._config.auto_allocate_blocks:
            raise IPAMError("failed to find or claim a block")
        for _ in tries():
            cidr = self._unclaimed()
            try:
                found = self._affinities.claim_anew(self._host, cidr)
            except (AffinityConflict, StaleAffinity):
                continue
            self._owned.add(cidr)
            self._mine.append(cidr)
            if blocks.free(found.spec, self._reserved) >= min_free:
                return found
        raise TooManyConflicts

    def _affine(self) -> Iterator[Network]:
        for affinity in self._records.affinities(self._host, self._wanted.version):
            cidr = cidr_of(affinity)
            if any(pool.contains(cidr) for pool in self._pools):
                yield cidr

    def _unclaimed(self) -> Network:
        """The first block in this host's order that is free to claim. Raises NoFreeBlocks."""
        existing = {blocks.network(found.spec): found for found in self._records.blocks()}
        taken = sorted(
            (int(cidr.network_address), int(cidr.broadcast_address))
            for cidr in existing
            if cidr.version == self._wanted.version
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

    def _take(self, found: IPAMBlock, outcome: Assignment, *, own: bool) -> bool:
        """Assigns what is missing from a block; False when it has nothing. A lost race is for the caller to repeat."""
        wanted, missing = self._wanted, outcome.requested - len(outcome.addresses)
        taken: list[str] = []

        def apply(spec: IPAMBlockSpec) -> Effect | None:
            taken[:] = []
            if own and blocks.owner(spec) != self._host:
                return None
            taken[:] = blocks.assign(spec, missing, wanted.handle, wanted.attributes, self._reserved)
            if not taken:
                return None
            return {wanted.handle: len(taken)} if wanted.handle is not None else {}

        known = {}
        if wanted.handle is not None and self._look_up_handle:
            known[wanted.handle] = self._records.handle(wanted.handle)
        takes = None if wanted.handle is None else (wanted.handle, missing)
        if not self._commits.commit(found, Change(apply, takes, known)):
            self._look_up_handle = True
            return True
        outcome.addresses += _with_prefix(taken, found)
        self._look_up_handle = self._look_up_handle or bool(taken)
        return bool(taken)

    def _borrow(self, outcome: Assignment) -> None:
        """Takes addresses from blocks of other hosts, in this host's order."""
        # What is remembered of others' blocks may be older than what is free there.
        self._records.look_anew(self._began_s)
        known = {blocks.network(found.spec) for found in self._records.blocks()}
        for pool in self._pools:
            for cidr in self._existing(pool, known):
                for _ in tries():
                    if outcome.complete:
                        return
                    found = self._records.block(cidr)
                    if found is None:
                        break
                    if not self._take(found, outcome, own=False):
                        break
        if not outcome.complete:
            cidrs = " ".join(str(pool.cidr) for pool in self._pools)
            outcome.messages.append(f"No IPs available in pools: [{cidrs}]")

    def _existing(self, pool: Pool, known: set[Network]) -> Iterator[Network]:
        """The pool's existing blocks in this host's order, without visiting those that do not exist."""
        mine = [cidr for cidr in known if pool.contains(cidr) and cidr.prefixlen == pool.block_size]
        if not mine:
            return
        start = next(block_sequence(pool.cidr, pool.block_size, self._host))
        mine.sort(key=lambda cidr: (cidr < start, cidr))  # type: ignore[operator]
        yield from mine


def _with_prefix(addresses: list[str], found: IPAMBlock) -> list[str]:
    length = found.spec.cidr.split("/")[1]
    return [f"{address}/{length}" for address in addresses]


def _overlaps(taken: list[tuple[int, int]], cidr: Network) -> bool:

    first, last = int(cidr.network_address), int(cidr.broadcast_address)
    position = bisect_right(taken, (last, 1 << 129)) - 1
    return position >= 0 and taken[position][1] >= first
