"""``calico-node -allocate-tunnel-addrs``: an address for each tunnel device this node needs.

A tunnel's address is an ordinary allocation, with one fixed handle per node and kind. Whatever the Node says, the
allocation decides: an address that is not ours, or no longer in an eligible pool, is replaced.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Mapping

from pycalico.api.v3.ippool import IPPool
from pycalico.api.v3.node import Node
from pycalico.base import log as base_log
from pycalico.base.backoff import Backoff
from pycalico.datastore.client import Client
from pycalico.datastore.config import from_environment
from pycalico.datastore.errors import Conflict, DatastoreError, NotFound
from pycalico.datastore.open import open_client
from pycalico.ipam.allocator import Allocator
from pycalico.ipam.block import Release
from pycalico.ipam.errors import AlreadyAssigned, IPAMError, NotAllocated
from pycalico.ipam.pools import TUNNEL
from pycalico.node import nodename
from pycalico.node.fatal import Fatal
from pycalico.node.tunnelkinds import KINDS, TunnelKind, eligible_cidrs, is_inside
from pycalico.syncer.feeds import WatchSpec
from pycalico.syncer.syncer import Syncer
from pycalico.syncer.update import Update

log = logging.getLogger(__name__)

_WRITE_TRIES = 5
_WRITE_RETRY_S = 1.0
_FIRST_RETRY_S = 1.0
_MOST_RETRY_S = 30.0


class TunnelAddresses:
    """The addresses of one node."""

    def __init__(self, client: Client, node: str, environ: Mapping[str, str]) -> None:
        self._client = client
        self._ipam = Allocator(client)
        self._node = node
        self._environ = environ

    def reconcile(self) -> None:
        """Raises DatastoreError, IPAMError, Fatal."""
        node = self._client.get(Node, self._node)
        pools = self._client.list(IPPool).items
        for kind in KINDS:
            cidrs = eligible_cidrs(kind, node, pools, self._environ)
            if cidrs:
                self._ensure(kind, kind.address_of(node), cidrs)
            else:
                self._remove(kind, kind.address_of(node))

    def _ensure(self, kind: TunnelKind, address: str, cidrs: list[str]) -> None:
        if not address:
            log.info("Assign a new tunnel address", extra=self._fields(kind))
            self._release_own(kind)
            self._assign(kind, cidrs)
            return
        try:
            holder = self._ipam.assignment_attributes(address)
        except NotAllocated:
            log.info(
                "Current address %s is not assigned, assign a new one", address, extra=self._fields(kind)
            )
            self._release_own(kind)
            self._assign(kind, cidrs)
            return
        if holder.attributes == self._attributes(kind):
            if is_inside(address, cidrs):
                log.debug("Current address %s is still valid", address, extra=self._fields(kind))
                return
            log.info("Current address %s is not in a valid pool", address, extra=self._fields(kind))
            self._release_own(kind)
        elif not holder.attributes and holder.handle is None and self._adopt(kind, address):
            return
        else:
            # A pod's, or another node's: not ours to give back.
            log.info("Current address %s is occupied, assign a new one", address, extra=self._fields(kind))
        self._assign(kind, cidrs)

    def _adopt(self, kind: TunnelKind, address: str) -> bool:
        """An allocation of before there were handles becomes one of now; False if somebody took it meanwhile."""
        self._ipam.release_ips([address])
        try:
            self._ipam.assign_ip(address, kind.handle(self._node), self._attributes(kind), self._node)
        except AlreadyAssigned:
            return False
        log.info("Updated tunnel address %s with allocation attributes", address, extra=self._fields(kind))
        return True

    def _assign(self, kind: TunnelKind, cidrs: list[str]) -> None:
        family = kind.family
        outcome = self._ipam.auto_assign(
            1 if family == 4 else 0,
            1 if family == 6 else 0,
            kind.handle(self._node),
            self._attributes(kind),
            self._node,
            pools4=cidrs if family == 4 else (),
            pools6=cidrs if family == 6 else (),
            use=TUNNEL,
        )
        assignment = outcome[0] if family == 4 else outcome[1]
        if not assignment.complete:
            raise Fatal(f"Unable to assign a tunnel address of type {kind.type}: {assignment.shortfall()}")
        address = assignment.addresses[0].partition("/")[0]
        try:
            self._write(kind, address)
        except (DatastoreError, Fatal):
            self._release_own(kind)
            raise
        log.info("Assigned tunnel address %s to node", address, extra=self._fields(kind))

    def _remove(self, kind: TunnelKind, address: str) -> None:
        if address:
            self._write(kind, "")
        if self._release_own(kind) or not address:
            return
        try:
            holder = self._ipam.assignment_attributes(address)
        except NotAllocated:
            return
        if (holder.handle is None and not holder.attributes) or holder.handle == kind.handle(self._node):
            self._ipam.release_ips([Release(address, holder.handle, holder.sequence_number)])
        else:
            log.warning("IP address %s has been reused by something else", address, extra=self._fields(kind))

    def _release_own(self, kind: TunnelKind) -> bool:
        """Frees all that our handle holds; False when there is no such handle."""
        try:
            self._ipam.release_by_handle(kind.handle(self._node))
        except NotFound:
            return False
        return True

    def _write(self, kind: TunnelKind, address: str) -> None:
        for attempt in range(_WRITE_TRIES):
            if attempt:
                time.sleep(_WRITE_RETRY_S)
            node = self._client.get(Node, self._node)
            if kind.address_of(node) == address:
                return
            kind.put(node, address)
            try:
                self._client.update(node)
            except Conflict:
                continue
            return
        raise Fatal(
            f"Unable to set tunnel address: Node {self._node} is being changed by others all the time"
        )

    def _attributes(self, kind: TunnelKind) -> dict[str, str]:
        return {"node": self._node, "type": kind.type}

    def _fields(self, kind: TunnelKind) -> dict[str, object]:
        return {"fields": {"type": kind.type}}


class _Relevant:
    """What of pools and of this node decides about tunnels; a change of anything else is not worth a look."""

    def __init__(self) -> None:
        self._seen: dict[object, object] = {}

    def changed(self, updates: list[Update]) -> bool:
        found = False
        for update in updates:
            value: object = None
            if isinstance(update.value, IPPool):
                value = update.value.spec
            elif isinstance(update.value, Node):
                status = update.value.status
                value = (
                    status.wireguard_public_key,
                    status.wireguard_public_key_v6,
                    update.value.metadata.labels,
                    [kind.address_of(update.value) for kind in KINDS],
                )
            if self._seen.get(update.key) != value:
                self._seen[update.key] = value
                found = True
        return found


def run(*, once: bool = False, environ: Mapping[str, str] = os.environ) -> int:
    base_log.configure("tunnel-ip-allocator")
    try:
        node = nodename.required(environ)
        config = from_environment(environ)
        if config.k8s_use_pod_cidr:
            log.info("Addresses come from the node's pod CIDR: no tunnel addresses to allocate")
            while not once:
                threading.Event().wait()
            return 0
        client = open_client(config, environ)
        addresses = TunnelAddresses(client, node, environ)
        if once:
            addresses.reconcile()
        else:
            _keep(client, node, addresses)
    except (DatastoreError, IPAMError, Fatal) as error:
        log.critical("%s", error)
        return 1
    return 0


def _keep(client: Client, node: str, addresses: TunnelAddresses) -> None:
    """Reconciles at the start and after each relevant change, for ever."""
    syncer = Syncer(client, [WatchSpec(IPPool), WatchSpec(Node, name=node)])
    syncer.start()
    relevant = _Relevant()
    retry = Backoff(_FIRST_RETRY_S, _MOST_RETRY_S)
    wait_s: float | None = None
    pending = False
    while True:
        batch = syncer.take(wait_s)
        pending = relevant.changed(batch.updates) or pending
        if not (pending and syncer.in_sync):
            continue
        try:
            addresses.reconcile()
            pending, wait_s = False, None
            retry.reset()
        except (DatastoreError, IPAMError, Fatal) as error:
            wait_s = retry.next_delay_s()
            log.warning("tunnel addresses: %s; trying again in %.0f s", error, wait_s)
