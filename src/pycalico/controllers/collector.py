"""Gives back what is proven to be unused: addresses, the blocks of deleted nodes, empty blocks.

Every step is proven a second time by a fresh read, and every write is a compare-and-swap with the handle and
sequence number that were examined: an address that was given away again meanwhile stays where it is.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Protocol

from pycalico.base.backoff import Backoff
from pycalico.controllers import leaks
from pycalico.controllers.ipamview import Allocation, Block, IPAMView
from pycalico.controllers.kubernetes import Existence, KubernetesPod
from pycalico.controllers.leaks import Findings
from pycalico.datastore.errors import Conflict, DatastoreError, Unavailable
from pycalico.ipam.allocator import Allocator
from pycalico.ipam.errors import IPAMError

log = logging.getLogger(__name__)

DRY_RUN = "dry run"
#: How often blocks are looked at for addresses that have rested.
_RESTS_EVERY_S = 15.0
_FIRST_DELAY_S = 1.0
_MOST_DELAY_S = 30.0


class Fresh(Protocol):
    """The second proof: reads that no feed takes part in. They never raise."""

    def pod(self, namespace: str, name: str) -> KubernetesPod | Existence: ...

    def node(self, node: str) -> Existence:
        """Of a Calico node: GONE when either it or its Kubernetes node is no more."""

    def migrating(self, node: str) -> bool:
        """Whether the node is on its way from Flannel to Calico; in doubt it is."""


class Collector:
    """``reclaimed`` is told of every address that was released (its block and node).

    With ``dry_run`` everything is looked at and nothing is released. ``wall`` is the clock that releases are dated by.
    """

    def __init__(
        self,
        view: IPAMView,
        allocator: Allocator,
        fresh: Fresh,
        *,
        grace_s: float | None,
        reclaimed: Callable[[Block, str], None],
        node_released: Callable[[str], None],
        stopping: Callable[[], bool] = lambda: False,
        dry_run: bool = False,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._view = view
        self._allocator = allocator
        self._fresh = fresh
        self._grace_s = grace_s
        self._reclaimed = reclaimed
        self._node_released = node_released
        self._stopping = stopping
        self._dry_run = dry_run
        self._wall = wall
        self._rests_due_s = 0.0
        self._later: dict[str, tuple[float, Backoff]] = {}

    def collect(self, findings: Findings, now_s: float) -> bool:
        """Releases what may be released; False when something failed and is worth another try soon.

        Raises Unavailable at once: there is no point in asking for the rest.
        """
        good = self._release_leaks(findings, now_s)
        if self._dry_run:
            return good
        self._end_rests(now_s)
        self._release_empty_blocks(now_s)
        return self._release_nodes(findings, now_s) and good

    # ---- addresses ----

    def _release_leaks(self, findings: Findings, now_s: float) -> bool:
        good = True
        present: dict[str, Existence] = {}
        for handle in dict.fromkeys(allocation.handle for allocation in self._view.confirmed()):
            if self._stopping():
                return True
            mine = list(self._view.by_handle.get(handle, {}).values())
            for allocation in mine:
                if allocation.confirmed and self._is_used(allocation, findings, present):
                    log.info(
                        "Leaked IP has been resurrected after querying latest state",
                        extra=allocation.fields(),
                    )
                    leaks.mark_valid(allocation, now_s)
            used = next((allocation for allocation in mine if not allocation.confirmed), None)
            for allocation in mine:
                if used is not None or allocation.kept != DRY_RUN:
                    allocation.kept = f"its handle has {used.address} as well" if used else ""
            if not mine or used is not None:
                log.debug("Some IPs with this handle are still valid, skipping %s", handle)
                continue
            good = self._release(mine) and good
        return good

    def _is_used(self, allocation: Allocation, findings: Findings, present: dict[str, Existence]) -> bool:
        node = allocation.node
        if node in findings.gone:
            if node not in present:
                present[node] = self._fresh.node(node)
            if present[node] is not Existence.GONE:
                return True
        elif allocation.is_tunnel or node not in findings.kubernetes_names:
            return True
        if allocation.is_tunnel:
            return False
        if allocation.pod is None:
            return True
        pod = self._fresh.pod(*allocation.pod)
        alive = node not in findings.gone
        return leaks.flaw(allocation, pod, findings.kubernetes_names.get(node), alive=alive) is None

    def _release(self, mine: list[Allocation]) -> bool:
        if self._dry_run:
            for allocation in mine:
                if not allocation.kept:
                    log.info("Would release leaked IP address (dry run)", extra=allocation.fields())
                allocation.kept = DRY_RUN
            return True
        for allocation in mine:
            log.info("Garbage collecting leaked IP address", extra=allocation.fields())
            try:
                missing = self._allocator.release_ips([allocation.release()])
            except Conflict:
                log.info("IP was given away again meanwhile, left as it is", extra=allocation.fields())
                allocation.clear()
                continue
            except Unavailable:
                raise
            except (DatastoreError, IPAMError) as error:
                log.warning("Failed to release leaked IP: %s", error, extra=allocation.fields())
                allocation.kept = f"releasing it failed: {error}"
                return False
            if missing:
                # Somebody else was faster. Should the feed not agree, suspicion starts anew.
                log.debug("IP already released", extra=allocation.fields())
                allocation.clear()
                continue
            block = self._view.blocks.get(allocation.block)
            if block is not None:
                self._reclaimed(block, allocation.node)
            self._view.forget([allocation])
        return True

    # ---- blocks ----

    def _end_rests(self, now_s: float) -> None:
        """Frees what has rested in blocks that nobody assigns from or releases to; those are free at once there."""
        resting = [block for block in self._view.blocks.values() if block.rests_since_s is not None]
        if not resting or now_s < self._rests_due_s:
            return
        self._rests_due_s = now_s + _RESTS_EVERY_S
        rest_s = self._allocator.records.rest_s()
        for block in resting:
            if rest_s is None or self._stopping():
                return
            if block.rests_since_s is not None and block.rests_since_s + rest_s <= self._wall():
                try:
                    self._allocator.end_rests(str(block.network))
                except Unavailable:
                    raise
                except (DatastoreError, IPAMError) as error:
                    log.warning("addresses of block %s go on resting: %s", block.network, error)

    def _release_empty_blocks(self, now_s: float) -> None:
        for block in sorted(self._view.blocks.values(), key=lambda block: block.name):
            owner = block.owner
            if owner is None or block.used:
                block.empty_since_s = None
                continue
            total = len(self._view.blocks_of.get(owner, ()))
            # The last block stays: the node would only have to claim one again.
            if total <= 1:
                continue
            if not self._grace_s or self._stopping():
                continue
            # An assignment in progress leaves a block empty for a moment; only one that stays so is spare.
            if block.empty_since_s is None:
                block.empty_since_s = now_s
            if now_s - block.empty_since_s <= self._grace_s:
                continue
            if self._fresh.migrating(owner):
                log.info("Node %s is undergoing a migration from Flannel, skipping affinity release", owner)
                block.empty_since_s = None
                continue
            fields = {"fields": {"blockCIDR": str(block.network), "node": owner}}
            log.info("Releasing affinity for empty block (node has %d total blocks)", total, extra=fields)
            try:
                self._allocator.release_block_affinity(str(block.network), owner, must_be_empty=True)
            except Unavailable:
                raise
            except (DatastoreError, IPAMError) as error:
                log.warning("unable or unwilling to release affinity for block: %s", error, extra=fields)
                block.empty_since_s = None
                continue
            # At once, so that the count is right for the node's next block.
            self._view.remove_block(block.name)

    # ---- nodes ----

    def _release_nodes(self, findings: Findings, now_s: float) -> bool:
        good = True
        for gone in set(self._later) - set(findings.releasable):
            del self._later[gone]
        for node in findings.releasable:
            due_s, backoff = self._later.get(node, (now_s, Backoff(_FIRST_DELAY_S, _MOST_DELAY_S)))
            if self._stopping():
                return True
            if due_s > now_s:
                good = False
                continue
            if not self._release_node(node):
                self._later[node] = (now_s + backoff.next_delay_s(), backoff)
                good = False
            else:
                self._later.pop(node, None)
        return good

    def _release_node(self, node: str) -> bool:
        left = [a for a in self._view.by_node.get(node, {}).values() if not a.is_windows_reserved]
        if left:
            log.info(
                "Can't cleanup node yet - %d IPs are left on it", len(left), extra={"fields": {"node": node}}
            )
            return False
        if self._fresh.node(node) is not Existence.GONE:
            log.info("Node %s is back, its blocks stay", node)
            return False
        log.info("Cleaning up IPAM affinities for deleted node", extra={"fields": {"node": node}})
        try:
            self._allocator.release_host_affinities(node, must_be_empty=True)
        except (DatastoreError, IPAMError) as error:
            log.warning("Error cleaning up node: %s", error, extra={"fields": {"node": node}})
            return False
        self._node_released(node)
        return True
