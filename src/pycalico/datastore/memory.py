"""A datastore in this process: for tests, dry runs and as the reference of the contract suite.

Revisions count up by one over all kinds, as etcd's do.
"""

from __future__ import annotations

import queue
import threading
import time
import uuid
from collections.abc import Iterator, Sequence

import msgspec

from pycalico.api.kinds import kind_of
from pycalico.api.meta import Key, R, Resource, ResourceList
from pycalico.base import shapes
from pycalico.datastore.client import Event, EventType, Write
from pycalico.datastore.errors import AlreadyExists, Conflict, NotFound, NotSupported, RevisionExpired


def copy_of(resource: R) -> R:
    """A deep copy, through the wire form."""
    return shapes.decode(msgspec.json.encode(resource), type(resource))


class MemoryWatch:
    """Delivers what the client recorded, then waits."""

    def __init__(self, client: MemoryClient, kind: str, namespace: str, name: str) -> None:
        self._client = client
        self._kind, self._namespace, self._name = kind, namespace, name
        self._events: queue.SimpleQueue[Event[Resource] | None] = queue.SimpleQueue()
        self._closed = False

    def wants(self, key: Key) -> bool:
        return (
            key.kind == self._kind
            and (not self._namespace or key.namespace == self._namespace)
            and (not self._name or key.name == self._name)
        )

    def put(self, event: Event[Resource]) -> None:
        self._events.put(event)

    def __iter__(self) -> Iterator[Event[Resource]]:
        while not self._closed:
            event = self._events.get()
            if event is None:
                return
            yield event

    def close(self) -> None:
        self._closed = True
        self._events.put(None)
        self._client.forget(self)


class MemoryClient:
    """The Client interface over a dictionary. ``transacts`` may be switched off, as for a datastore that cannot."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._objects: dict[Key, Resource] = {}
        self._history: list[tuple[int, Key, Event[Resource]]] = []
        self._watches: list[MemoryWatch] = []
        self._revision = 1
        self._compacted = 0
        self.transacts = True

    def create(self, resource: R) -> R:
        with self._lock:
            if resource.key in self._objects:
                raise AlreadyExists(resource.key)
            stored = copy_of(resource)
            stored.metadata.uid = stored.metadata.uid or str(uuid.uuid4())
            stored.metadata.creation_timestamp = stored.metadata.creation_timestamp or time.strftime(
                "%Y-%m-%dT%H:%M:%SZ", time.gmtime()
            )
            return self._store(stored, EventType.ADDED)

    def get(self, kind: type[R], name: str, namespace: str = "", *, revision: str = "") -> R:  # noqa: ARG002
        with self._lock:
            return copy_of(self._find(kind, name, namespace))

    def list(
        self,
        kind: type[R],
        namespace: str = "",
        *,
        name_prefix: str = "",
        cached: bool = False,  # noqa: ARG002
    ) -> ResourceList[R]:
        with self._lock:
            name = kind_of(kind).name
            wanted = [
                (key, found)
                for key, found in self._objects.items()
                if key.kind == name
                and (not namespace or key.namespace == namespace)
                and key.name.startswith(name_prefix)
                and isinstance(found, kind)
            ]
            items = [copy_of(found) for _, found in sorted(wanted, key=lambda each: each[0])]
            return ResourceList(items, str(self._revision))

    def ping(self, timeout_s: float) -> None:
        """Nothing is away."""

    def update(self, resource: R) -> R:
        with self._lock:
            current = self._find(type(resource), resource.metadata.name, resource.metadata.namespace)
            if resource.metadata.resource_version != current.metadata.resource_version:
                raise Conflict(resource.key)
            stored = copy_of(resource)
            stored.metadata.uid = current.metadata.uid
            stored.metadata.creation_timestamp = current.metadata.creation_timestamp
            return self._store(stored, EventType.MODIFIED)

    def update_status(self, resource: R) -> R:
        return self.update(resource)

    def delete(
        self, kind: type[R], name: str, namespace: str = "", *, revision: str = "", uid: str = ""
    ) -> R | None:
        with self._lock:
            current = self._find(kind, name, namespace)
            if (revision and revision != current.metadata.resource_version) or (
                uid and uid != current.metadata.uid
            ):
                raise Conflict(current.key)
            del self._objects[current.key]
            self._revision += 1
            self._publish(current.key, Event(EventType.DELETED, copy_of(current), str(self._revision)))
            return current

    def transact(self, writes: Sequence[Write]) -> Sequence[Resource]:
        if not self.transacts:
            raise NotSupported("Transact", "")
        with self._lock:
            for write in writes:
                current = self._objects.get(write.resource.key)
                revision = current.metadata.resource_version if current is not None else ""
                wanted = "" if write.verb == "create" else write.resource.metadata.resource_version or "-"
                if revision != wanted:
                    raise Conflict(write.resource.key)
            return [self._write(write) for write in writes]

    def _write(self, write: Write) -> Resource:
        resource = write.resource
        if write.verb == "delete":
            self.delete(type(resource), resource.metadata.name, resource.metadata.namespace)
            return resource
        return self.create(resource) if write.verb == "create" else self.update(resource)

    def watch(self, kind: type[R], namespace: str = "", *, revision: str = "", name: str = "") -> MemoryWatch:
        with self._lock:
            since = int(revision) if revision else self._revision
            if since < self._compacted:
                raise RevisionExpired(f"revision {since} is compacted up to {self._compacted}")
            watch = MemoryWatch(self, kind_of(kind).name, namespace, name)
            for number, key, event in self._history:
                if number > since and watch.wants(key):
                    watch.put(event)
            self._watches.append(watch)
            return watch

    def close(self) -> None:
        for watch in list(self._watches):
            watch.close()

    def compact(self) -> None:
        """Forgets history, so that watches from an older revision raise RevisionExpired."""
        with self._lock:
            self._compacted = self._revision
            self._history.clear()

    def forget(self, watch: MemoryWatch) -> None:
        with self._lock:
            if watch in self._watches:
                self._watches.remove(watch)

    def _find(self, kind: type[R], name: str, namespace: str) -> R:
        key = Key(kind_of(kind).name, namespace, name)
        found = self._objects.get(key)
        if not isinstance(found, kind):
            raise NotFound(key)
        return found

    def _store(self, stored: R, event_type: EventType) -> R:
        self._revision += 1
        stored.metadata.resource_version = str(self._revision)
        self._objects[stored.key] = stored
        self._publish(stored.key, Event(event_type, copy_of(stored), str(self._revision)))
        return copy_of(stored)

    def _publish(self, key: Key, event: Event[Resource]) -> None:
        self._history.append((self._revision, key, event))
        for watch in self._watches:
            if watch.wants(key):
                watch.put(event)
