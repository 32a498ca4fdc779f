"""Changes of blocks and of the handles that belong to them, written so that a crash leaves nothing that is not put right.

Where the datastore has transactions, a block and its handles are one write. Elsewhere the order is handle, then block; on
release block, then handle: whatever crashes in between leaves a handle that claims too much, which the next release or
the node controller puts right.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext

from pycalico.api.meta import ObjectMeta
from pycalico.api.v3.ipam import IPAMBlock, IPAMBlockSpec, IPAMHandle, IPAMHandleSpec
from pycalico.datastore.client import Write
from pycalico.datastore.errors import Conflict, DatastoreError, NotFound
from pycalico.ipam.errors import IPAMError
from pycalico.ipam.records import Records, block_write, cidr_of

#: By how much the counts of handles change.
Effect = Mapping[str, int]
#: etcd takes 128 operations in a transaction, and a change is of one handle, rarely of more.
_MOST_AT_ONCE = 60
#: The revision of no block.
_OUT_OF_DATE = "-"


class Change:
    """What one caller wants of one block.

    ``apply`` is given the block as it is when the write comes about; it may be called by another thread. It returns the
    effect, or None where there is nothing to write, or raises IPAMError or Conflict before it has changed anything.
    ``takes`` is (handle, count) of what it will add at most; ``known`` holds handles that the caller has read, None for
    those that are not there.
    """

    def __init__(
        self,
        apply: Callable[[IPAMBlockSpec], Effect | None],
        takes: tuple[str, int] | None = None,
        known: Mapping[str, IPAMHandle | None] | None = None,
    ) -> None:
        self.apply = apply
        self.takes = takes
        self.known = dict(known or {})
        self.effect: Effect | None = None
        self.error: IPAMError | DatastoreError | None = None
        self.written = False
        #: The block after the write.
        self.block: IPAMBlock | None = None

    def tried(self, spec: IPAMBlockSpec) -> bool:
        """Applies; True when there is something to write."""
        self.effect = self.error = None
        try:
            self.effect = self.apply(spec)
        except (IPAMError, Conflict) as error:
            self.error = error
        return self.effect is not None


class Commits:
    """Each change is a write of its own."""

    def __init__(self, records: Records) -> None:
        self._records = records
        #: Held while a block is claimed.
        self.claiming: AbstractContextManager[object] = nullcontext()

    def commit(self, found: IPAMBlock, change: Change) -> bool:
        """Applies ``change`` to the block and writes it; False when another writer was faster, and nothing is changed.

        Raises what the change raises, and DatastoreError.
        """
        if self._records.client.transacts:
            return self._do(found, change)
        cidr = found.spec.cidr
        if change.takes is not None:
            self._records.raise_handle(change.takes[0], cidr, change.takes[1])
        try:
            done = self._do(found, change)
        except (IPAMError, Conflict):
            change.effect = None
            self._settle(cidr, change)
            raise
        if not done:
            change.effect = None
        self._settle(cidr, change)
        return done

    def _settle(self, cidr: str, change: Change) -> None:
        """Lowers what was given back, and what was raised before the block was seen and is not used."""
        lower = {handle: -delta for handle, delta in (change.effect or {}).items() if delta < 0}
        if change.takes is not None:
            handle, raised = change.takes
            unused = raised - max(0, (change.effect or {}).get(handle, 0))
            lower[handle] = lower.get(handle, 0) + unused
        for handle, count in lower.items():
            if count:
                self._records.lower_handle(handle, cidr, count)

    def _do(self, found: IPAMBlock, change: Change) -> bool:
        self._write(found, [change])
        return _outcome(change)

    def _write(self, found: IPAMBlock, changes: Sequence[Change]) -> None:
        """Every change of the list is told how it went. Raises DatastoreError other than a lost race."""
        applied = []
        for change in changes:
            change.written = not change.tried(found.spec)
            if change.effect is not None:
                applied.append(change)
        if not applied:
            return
        write = block_write(found)
        try:
            if self._records.client.transacts:
                writes = [write, *self._handle_writes(found.spec.cidr, applied)]
                stored = self._records.client.transact(writes)[0]
            else:
                stored = self._records.do(write)
        except (Conflict, NotFound):
            found.metadata.resource_version = _OUT_OF_DATE
            # What came after the first of them, also "nothing to do" and refusals, was found out on a block that has
            # not come about.
            for change in changes:
                change.written, change.effect, change.error = False, None, None
            return
        found.metadata.resource_version = stored.metadata.resource_version
        for change in applied:
            change.written, change.block = True, found

    def _handle_writes(self, cidr: str, changes: list[Change]) -> Iterable[Write]:
        totals: dict[str, int] = {}
        known: dict[str, IPAMHandle | None] = {}
        for change in changes:
            known |= change.known
            for handle, delta in (change.effect or {}).items():
                totals[handle] = totals.get(handle, 0) + delta
        for handle, delta in totals.items():
            if delta < 0 and handle not in known:
                known[handle] = self._records.handle(handle)
            found = known.get(handle)
            if found is None:
                if delta > 0:
                    yield Write("create", _handle(handle, {cidr: delta}))
                continue
            left = found.spec.block.get(cidr, 0) + delta
            held = {**found.spec.block, cidr: left}
            if left <= 0:
                del held[cidr]
            if held != found.spec.block:
                found.spec.block = held
                yield Write("update" if held else "delete", found)


class SharedCommits(Commits):
    """For a process with many callers at once: changes of one block that wait for each other go in one write.

    Whoever comes first does it for all that wait; the next goes with those who came meanwhile.
    """

    def __init__(self, records: Records) -> None:
        super().__init__(records)
        self.claiming = threading.Lock()
        self._lock = threading.Lock()
        self._turns: dict[str, _Turn] = {}

    def _do(self, found: IPAMBlock, change: Change) -> bool:
        cidr = found.spec.cidr
        with self._lock:
            turn = self._turns.setdefault(cidr, _Turn())
            turn.waiting.append(change)
        while not self._has_been_done(turn, change, found):
            pass
        return _outcome(change)

    def _has_been_done(self, turn: _Turn, change: Change, found: IPAMBlock) -> bool:
        with turn.busy:
            with self._lock:
                if change not in turn.waiting:
                    return True
                batch, turn.waiting = turn.waiting[:_MOST_AT_ONCE], turn.waiting[_MOST_AT_ONCE:]
            try:
                newest: IPAMBlock | None = found
                if turn.revision not in ("", found.metadata.resource_version):
                    newest = self._records.block(cidr_of(found))
                if newest is not None:
                    self._write(newest, batch)
                turn.revision = newest.metadata.resource_version if newest is not None else _OUT_OF_DATE
            except DatastoreError as error:
                for each in batch:
                    each.error = error
            return change in batch


class _Turn:
    """Of one block: who writes, who waits, and the revision that was read last here."""

    def __init__(self) -> None:
        self.busy = threading.Lock()
        self.waiting: list[Change] = []
        self.revision = ""


def _outcome(change: Change) -> bool:
    if change.error is not None:
        raise change.error
    return change.written


def _handle(handle: str, held: dict[str, int]) -> IPAMHandle:
    return IPAMHandle(metadata=ObjectMeta(name=handle), spec=IPAMHandleSpec(handle_id=handle, block=held))
