"""A client that remembers what changes rarely, and what only this node changes.

Pools, reservations, affinities and the like are followed by watches: a read costs no request. Blocks and handles are not
watched, for a cluster has many; the last state that this client read or wrote is remembered, and forgotten as soon as a
write with it is refused, or a caller would have to be told "no" because of it. Every write is compare-and-swap, so an old
memory costs a retry and nothing else.
"""

from __future__ import annotations

import copy
import logging
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, cast

import msgspec

from pycalico.api.meta import Key, R, Resource, ResourceList
from pycalico.api.v3.clusterinformation import ClusterInformation
from pycalico.api.v3.ipam import BlockAffinity, IPAMBlock, IPAMConfig, IPAMHandle
from pycalico.api.v3.ippool import IPPool
from pycalico.api.v3.ipreservation import IPReservation
from pycalico.api.v3.node import Node
from pycalico.datastore.client import Client, Watch, Write
from pycalico.datastore.errors import Conflict, DatastoreError, NotFound, Unauthorized
from pycalico.ipam import block as blocks
from pycalico.ipam.records import Records
from pycalico.syncer.syncer import Syncer, WatchSpec

log = logging.getLogger(__name__)

#: Small and few; what is read at each call.
WATCHED: tuple[type[Resource], ...] = (
    ClusterInformation,
    IPPool,
    IPReservation,
    IPAMConfig,
    BlockAffinity,
)
_REMEMBERED: tuple[type[Resource], ...] = (IPAMBlock, IPAMHandle)
#: Of each kind.
_MOST_REMEMBERED = 2000
_TAKE_S = 60.0


class _Read(msgspec.Struct, frozen=True):
    """``asked_s``: of `time.monotonic`, before the datastore was asked: it was so then, or later."""

    resource: Resource
    asked_s: float
    #: Of a block: no address is free, and none rests.
    full: bool = False


class MemoryClient:
    """Thread-safe; objects it returns belong to the caller. ``close`` ends the watches and the clients.

    ``follower`` is the client that watches, where that is another than ``driver``. What it may not watch is read from
    the driver each time.
    """

    def __init__(self, driver: Client, node: str, follower: Client | None = None) -> None:
        self.driver = driver
        self._follower = follower or driver
        self._node = Key("Node", "", node)
        self._lock = threading.Lock()
        self._watched: dict[Key, Resource] = {}
        #: Those of ``_watched`` that are this node's affinities: few of many.
        self._own: dict[Key, BlockAffinity] = {}
        self._remembered: dict[type[Resource], dict[Key, _Read]] = {kind: {} for kind in _REMEMBERED}
        #: Names of the kinds that ``_watched`` has whole; empty until all of them are.
        self._known: frozenset[str] = frozenset()
        self._syncer: Syncer | None = None
        self._closed = False

    @property
    def rest(self) -> Any:
        """Only a Kubernetes driver has one: then this client counts as one of Kubernetes."""
        return cast("Any", self.driver).rest

    def start(self) -> None:
        threading.Thread(target=self._follow, name="memory", daemon=True).start()

    def _follow(self) -> None:
        watches = [spec for spec in self._wanted() if self._permitted(spec)]
        kinds = frozenset(spec.kind.__name__ for spec in watches)
        syncer = Syncer(self._follower, watches)
        with self._lock:
            if self._closed or not watches:
                return
            self._syncer = syncer
        syncer.start()
        while not self._closed:
            batch = syncer.take(_TAKE_S)
            with self._lock:
                for update in batch.updates:
                    if isinstance(update.value, Resource):
                        self._learn(update.key, update.value)
                    else:
                        self._unlearn(update.key)
                if syncer.in_sync:
                    self._known = kinds

    def _wanted(self) -> list[WatchSpec]:
        return [*(WatchSpec(kind) for kind in WATCHED), WatchSpec(Node, name=self._node.name)]

    def _permitted(self, spec: WatchSpec) -> bool:
        """Tried, since rights differ from cluster to cluster; a datastore that is away will be there later."""
        try:
            self._follower.list(spec.kind, name_prefix=spec.name, cached=True)
        except Unauthorized as error:
            log.info("%s is read at each call: %s", spec.kind.__name__, error)
            return False
        except DatastoreError:
            return True
        return True

    # ---- reading

    def get(self, kind: type[R], name: str, namespace: str = "", *, revision: str = "") -> R:
        key = Key(kind.__name__, namespace, name)
        found = self._recall(kind, key)
        if found is not None:
            return found
        asked_s = time.monotonic()
        got = self.driver.get(kind, name, namespace, revision=revision)
        self._keep(got, asked_s)
        return got

    def _recall(self, kind: type[R], key: Key) -> R | None:
        with self._lock:
            if kind in _REMEMBERED:
                read = self._remembered[kind].get(key)
                found = read.resource if read is not None else None
            elif kind.__name__ in self._known and (kind in WATCHED or key == self._node):
                found = self._watched.get(key)
            else:
                return None
        return _copy(cast("R", found)) if found is not None else None

    def list(
        self, kind: type[R], namespace: str = "", *, name_prefix: str = "", cached: bool = False
    ) -> ResourceList[R]:
        with self._lock:
            known = kind in WATCHED and kind.__name__ in self._known and not namespace
            items = (
                [
                    cast("R", item)
                    for key, item in self._watched.items()
                    if key.kind == kind.__name__ and key.name.startswith(name_prefix)
                ]
                if known
                else []
            )
        if not known:
            return self.driver.list(kind, namespace, name_prefix=name_prefix, cached=cached)
        items.sort(key=lambda item: (item.metadata.namespace, item.metadata.name))
        return ResourceList([_copy(item) for item in items], "")

    def affinities_of(self, host: str) -> Sequence[BlockAffinity]:
        with self._lock:
            known = host == self._node.name and BlockAffinity.__name__ in self._known
            own = list(self._own.values()) if known else []
        if not known:
            return Records(self.driver).affinities(host)
        own.sort(key=lambda item: item.metadata.name)
        return [_copy(item) for item in own]

    def is_full(self, block: str) -> bool:
        with self._lock:
            read = self._remembered[IPAMBlock].get(Key(IPAMBlock.__name__, "", block))
        return read is not None and read.full

    # ---- writing

    def create(self, resource: R) -> R:
        return self._written(resource, self.driver.create)

    def update(self, resource: R) -> R:
        return self._written(resource, self.driver.update)

    def update_status(self, resource: R) -> R:
        return self._written(resource, self.driver.update_status)

    def _written(self, resource: R, write: Callable[[R], R]) -> R:
        asked_s = time.monotonic()
        try:
            done = write(resource)
        except NotFound:
            self._doubt(type(resource), resource.key)
            if type(resource) in _REMEMBERED:
                raise Conflict(resource.key) from None  # what was remembered is gone: look again
            raise
        except DatastoreError:
            self._doubt(type(resource), resource.key)
            raise
        self._keep(done, asked_s)
        return done

    def _doubt(self, kind: type[Resource], key: Key) -> None:
        """What is known may be old. A watched object is read anew, lest lists miss it until its next change."""
        self._forget(key)
        if kind in WATCHED:
            asked_s = time.monotonic()
            try:
                self._keep(self.driver.get(kind, key.name, key.namespace), asked_s)
            except DatastoreError:
                return

    def delete(
        self, kind: type[R], name: str, namespace: str = "", *, revision: str = "", uid: str = ""
    ) -> R | None:
        key = Key(kind.__name__, namespace, name)
        try:
            return self.driver.delete(kind, name, namespace, revision=revision, uid=uid)
        except NotFound:
            if revision and kind in _REMEMBERED:
                raise Conflict(key) from None  # what was remembered is gone: look again
            raise
        finally:
            self._forget(key)

    def _keep(self, resource: Resource, asked_s: float) -> None:
        kind = type(resource)
        if kind not in _REMEMBERED and kind not in WATCHED:
            return
        own = _copy(resource)
        with self._lock:
            if kind in WATCHED:
                self._learn(resource.key, own)
                return
            remembered = self._remembered[kind]
            remembered[resource.key] = _Read(own, asked_s, _is_full(own))
            while len(remembered) > _MOST_REMEMBERED:
                remembered.pop(next(iter(remembered)))

    def look_anew(self, since_s: float, at_once: Iterable[str] = ()) -> bool:
        """Of what was read or written before ``since_s`` the blocks named in ``at_once`` are read, the rest forgotten.

        False when there was none.
        """
        kept = {Key(IPAMBlock.__name__, "", name) for name in at_once}
        with self._lock:
            old = [
                key
                for remembered in self._remembered.values()
                for key, read in remembered.items()
                if read.asked_s < since_s
            ]
            for key in old:
                if key not in kept:
                    self._forgotten(key)
        for key in kept.intersection(old):
            asked_s = time.monotonic()
            try:
                self._keep(self.driver.get(IPAMBlock, key.name), asked_s)
            except NotFound:
                self._forget(key)
        return bool(old)

    def forget(self, block: str) -> None:
        self._forget(Key(IPAMBlock.__name__, "", block))

    def _forget(self, key: Key) -> None:
        with self._lock:
            self._forgotten(key)
            self._unlearn(key)

    def _forgotten(self, key: Key) -> None:
        """With the lock held, like what follows."""
        for remembered in self._remembered.values():
            remembered.pop(key, None)

    def _learn(self, key: Key, resource: Resource) -> None:
        self._watched[key] = resource
        if isinstance(resource, BlockAffinity) and resource.spec.node == self._node.name:
            self._own[key] = resource

    def _unlearn(self, key: Key) -> None:
        self._watched.pop(key, None)
        self._own.pop(key, None)

    @property
    def transacts(self) -> bool:
        return self.driver.transacts

    def transact(self, writes: Sequence[Write]) -> Sequence[Resource]:
        asked_s = time.monotonic()
        try:
            stored = self.driver.transact(writes)
        except DatastoreError:
            for write in writes:
                self._doubt(type(write.resource), write.resource.key)
            raise
        for write, resource in zip(writes, stored, strict=True):
            if write.verb == "delete":
                self._forget(resource.key)
            else:
                self._keep(resource, asked_s)
        return stored

    # ---- the rest of a client

    def watch(self, kind: type[R], namespace: str = "", *, revision: str = "", name: str = "") -> Watch[R]:
        return self.driver.watch(kind, namespace, revision=revision, name=name)

    def ping(self, timeout_s: float) -> None:
        self.driver.ping(timeout_s)

    def close(self) -> None:
        with self._lock:
            self._closed = True
            syncer = self._syncer
        if syncer is not None:
            syncer.stop()
        self.driver.close()
        if self._follower is not self.driver:
            self._follower.close()


def _is_full(resource: Resource) -> bool:
    if not isinstance(resource, IPAMBlock) or resource.spec.unallocated:
        return False
    return not blocks.has_resting(resource.spec)


def _copy(resource: R) -> R:
    """As deep as anybody may change it. A block is large and read at every call, so it does not take the wire form."""
    if isinstance(resource, IPAMBlock):
        return cast("R", blocks.copy_of(resource))
    if isinstance(resource, BlockAffinity):
        # Likewise, and all of the node's are read at every call. Nobody changes its labels.
        return cast("R", BlockAffinity(metadata=copy.copy(resource.metadata), spec=copy.copy(resource.spec)))
    return msgspec.json.decode(msgspec.json.encode(resource), type=type(resource))
