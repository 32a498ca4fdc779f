"""Claiming and giving back blocks, safely against any number of other claimers, ours and upstream's.

A claim is three writes: affinity pending, block, affinity confirmed. Whoever finds a claim half done can tell
from the block whose it is, and finishes or removes it.
"""

from __future__ import annotations

from pycalico.api.v3.ipam import BlockAffinity, IPAMBlock
from pycalico.datastore.errors import AlreadyExists, Conflict, NotFound
from pycalico.ipam import block as blocks
from pycalico.ipam.errors import AffinityConflict, BlockNotEmpty, IPAMError, StaleAffinity, TooManyConflicts
from pycalico.ipam.records import CONFIRMED, PENDING, PENDING_DELETION, Records, cidr_of, tries
from pycalico.ipam.sequence import Network


class Affinities:
    """The protocol, for any host."""

    def __init__(self, records: Records) -> None:
        self._records = records

    def pending(self, host: str, cidr: Network) -> BlockAffinity:
        """Step 1: an affinity that says "about to claim"; a confirmed one is returned as it is."""
        for _ in tries():
            try:
                return self._records.create_affinity(host, cidr, PENDING)
            except AlreadyExists:
                found = self._records.affinity(host, cidr)
            if found is None:
                continue
            if found.spec.state in (CONFIRMED, ""):
                return found
            try:
                return self._records.write_affinity(found, PENDING)
            except (Conflict, NotFound):
                continue
        raise TooManyConflicts

    def claim(self, affinity: BlockAffinity, cidr: Network) -> IPAMBlock:
        """Step 2: the block of a pending affinity, created or adopted.

        Raises:
            AffinityConflict: another host won; this host's affinity is gone again.
            StaleAffinity: the block was another's or nobody's all along; likewise.
            Conflict: another claimer of the same host is at work; try again.
        """
        found = self._records.block(cidr)
        return self._make(affinity, cidr) if found is None else self._adopt(affinity, found)

    def _make(self, affinity: BlockAffinity, cidr: Network) -> IPAMBlock:
        host = affinity.spec.node
        affinity = self._still(affinity, PENDING)
        try:
            made = self._records.create_block(blocks.new(cidr, host))
        except AlreadyExists:
            found = self._records.block(cidr)
            if found is None:
                raise Conflict(affinity.key) from None
            if blocks.owner(found.spec) != host:
                self._records.delete_affinity(affinity)
                raise AffinityConflict(str(cidr), str(found.spec.affinity)) from None
            made = found
        self.confirm(affinity)
        return made

    def _adopt(self, affinity: BlockAffinity, remembered: IPAMBlock) -> IPAMBlock:
        found = self._surely(affinity, remembered)
        if blocks.owner(found.spec) != affinity.spec.node:
            self._records.delete_affinity(affinity)
            raise StaleAffinity(
                f"Affinity is stale: block {found.spec.cidr} belongs to {found.spec.affinity}"
            )
        if affinity.spec.state not in (CONFIRMED, ""):
            affinity = self._still(affinity, PENDING)
            # A rewrite makes every other claimer's copy of the block out of date.
            found = self._records.write_block(found)
            self.confirm(affinity)
        return found

    def claim_anew(self, host: str, cidr: Network) -> IPAMBlock:
        """Steps 1 to 3, from the start. Raises AffinityConflict, StaleAffinity, TooManyConflicts."""
        for _ in tries():
            try:
                return self.claim(self.pending(host, cidr), cidr)
            except Conflict:
                continue
        raise TooManyConflicts

    def load(self, host: str, cidr: Network) -> IPAMBlock | None:
        """A block of the host, its claim finished if it was half done; None when it turns out not to be the host's."""
        for _ in tries():
            affinity = self._records.affinity(host, cidr)
            if affinity is None:
                return None
            try:
                found = self._records.block(cidr)
                if found is not None:
                    return self._adopt(affinity, found)
                if self._records.overlapping(cidr) is None:
                    return self._make(affinity, cidr)
                # Left half done, and the pool's block size is another since.
                self._records.delete_affinity(affinity)
                return None
            except Conflict:
                continue
            except (AffinityConflict, StaleAffinity):
                return None
        raise TooManyConflicts

    def confirm(self, affinity: BlockAffinity) -> None:
        """Step 3. That another claimer of this host confirmed it first is success too."""
        try:
            self._records.write_affinity(affinity, CONFIRMED)
        except (Conflict, NotFound):
            again = self._records.affinity(affinity.spec.node, cidr_of(affinity))
            if again is None or again.spec.state != CONFIRMED:
                raise Conflict(affinity.key) from None

    def release(self, host: str, cidr: Network, *, must_be_empty: bool) -> None:
        """Gives a block back: deleted when empty, else left to nobody until its last address is freed.

        Raises NotFound (no such affinity or block), AffinityConflict, BlockNotEmpty, TooManyConflicts.
        """
        for _ in tries():
            try:
                self._release_once(host, cidr, must_be_empty=must_be_empty)
            except Conflict:
                continue
            return
        raise TooManyConflicts

    def _release_once(self, host: str, cidr: Network, *, must_be_empty: bool) -> None:
        affinity = self._records.affinity(host, cidr)
        if affinity is None:
            raise IPAMError(f"affinity of host {host} to block {cidr} does not exist")
        found = self._records.block(cidr)
        if found is None:
            # The claim never got as far as its block, or a release did not get past it.
            self._records.delete_affinity(affinity)
            return
        found = self._surely(affinity, found)
        if blocks.owner(found.spec) != host:
            self._records.delete_affinity(affinity)
            raise AffinityConflict(str(cidr), str(found.spec.affinity))
        if must_be_empty and not blocks.is_empty(found.spec):
            raise BlockNotEmpty(str(cidr))
        affinity = self._still(affinity, PENDING_DELETION)
        if blocks.is_empty(found.spec):
            self._records.delete_block(found)
        else:
            found.spec.affinity = None
            self._records.write_block(found)
        self._records.delete_affinity(affinity)

    def _surely(self, affinity: BlockAffinity, remembered: IPAMBlock) -> IPAMBlock:
        """Read anew unless it is the host's: no affinity is deleted because of an old memory of its block.

        Raises Conflict when the block is gone.
        """
        if blocks.owner(remembered.spec) == affinity.spec.node:
            return remembered
        found = self._records.reread(remembered)
        if found is None:
            raise Conflict(affinity.key)
        return found

    def _still(self, affinity: BlockAffinity, state: str) -> BlockAffinity:
        """Writes the state, which also proves that nobody changed the affinity since it was read."""
        return self._records.write_affinity(affinity, state)
