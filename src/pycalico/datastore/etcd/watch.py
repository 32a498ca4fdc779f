"""A watch over etcd's gateway: lines of JSON, each with the changes of one revision or more."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Generic

import msgspec

from pycalico.api.meta import R
from pycalico.base import shapes
from pycalico.datastore import rejects
from pycalico.datastore.client import Event, EventType
from pycalico.datastore.errors import Invalid, RevisionExpired, Unavailable
from pycalico.datastore.etcd.answers import Header, KeyValue
from pycalico.datastore.etcd.gateway import Gateway, b64, prefix_end
from pycalico.datastore.etcd.stores import Store


class _Change(msgspec.Struct):
    """``type`` is absent for a put."""

    kv: KeyValue = msgspec.field(default_factory=KeyValue)
    prev_kv: KeyValue | None = None
    type: str = "PUT"


class _Result(msgspec.Struct):
    header: Header = msgspec.field(default_factory=Header)
    created: bool = False
    canceled: bool = False
    compact_revision: str = "0"
    cancel_reason: str = ""
    events: list[_Change] = []


class _Fault(msgspec.Struct):
    message: str = ""


class _Line(msgspec.Struct):
    result: _Result | None = None
    error: _Fault | None = None


class EtcdWatch(Generic[R]):
    """Events of one kind after a revision. What cannot be decoded any more counts as deleted."""

    def __init__(self, gateway: Gateway, store: Store[R], key: str, revision: str, *, prefix: bool) -> None:
        request: dict[str, object] = {
            "key": b64(key),
            "prev_kv": True,
            "progress_notify": True,
        }
        if prefix:
            request["range_end"] = prefix_end(key)
        if revision:
            request["start_revision"] = str(int(revision) + 1)
        self._since = int(revision or 0)
        self._store = store
        self._closed = threading.Event()
        self._answer = gateway.stream("/v3/watch", {"create_request": request})
        self._decoder = shapes.decoder(_Line)

    def __iter__(self) -> Iterator[Event[R]]:
        try:
            for line in self._answer.lines():
                if line:
                    yield from self._events(line)
        except (OSError, ValueError) as error:
            # Closing from another thread surfaces as any of these in the reading one.
            if not self._closed.is_set():
                raise Unavailable(f"watch broken: {error}") from error
        finally:
            self._answer.connection.close()

    def _events(self, line: bytes) -> Iterator[Event[R]]:
        found = self._decoder.decode(line)
        if found.error is not None:
            raise Unavailable(f"watch broken: {found.error.message}")
        result = found.result
        if result is None:
            return
        if result.created:
            if int(result.header.revision) < self._since:
                # A backup was restored: what is older than the revision would never be told.
                raise RevisionExpired(
                    f"the datastore is at revision {result.header.revision}, older than {self._since}"
                )
            return
        if result.compact_revision not in ("", "0"):
            raise RevisionExpired(f"required revision has been compacted up to {result.compact_revision}")
        if result.canceled:
            raise Unavailable(f"watch cancelled: {result.cancel_reason}")
        for change in result.events:
            event = self._event(change)
            if event is not None:
                yield event
        if not result.events:
            yield Event(EventType.BOOKMARK, None, result.header.revision)

    def _event(self, change: _Change) -> Event[R] | None:
        revision = change.kv.mod_revision
        old = self._decode(change.prev_kv, current=False)
        new = self._decode(change.kv, current=True) if change.type == "PUT" else None
        if new is not None:
            new.metadata.resource_version = revision
            return Event(EventType.ADDED if old is None else EventType.MODIFIED, new, revision)
        if old is not None:
            return Event(EventType.DELETED, old, revision)
        return None

    def _decode(self, kv: KeyValue | None, *, current: bool) -> R | None:
        if kv is None:
            return None
        key = kv.key.decode()
        try:
            found = self._store.decode(key, kv.value)
        except Invalid as error:
            if current:
                rejects.report(self._store.kind.name, f"{key}: {error}; it counts as deleted")
            return None
        if found is not None:
            found.metadata.resource_version = kv.mod_revision
        return found

    def close(self) -> None:
        self._closed.set()
        self._answer.connection.end()
