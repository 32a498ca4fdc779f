"""Kinds that are CRDs of crd.projectcalico.org/v1."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import Generic

import msgspec

from pycalico.api.kinds import Kind
from pycalico.api.meta import CRD_API_VERSION, Key, ObjectMeta, R, ResourceList
from pycalico.api.v3.ipam import BlockAffinity, IPAMBlock, IPAMHandle
from pycalico.base import shapes
from pycalico.datastore.client import Event, EventType
from pycalico.datastore.errors import Conflict, DatastoreError, Invalid, NotFound
from pycalico.datastore.kubernetes.convert import metadata, uid
from pycalico.datastore.kubernetes.refusal import translate
from pycalico.datastore.kubernetes.rest import Rest, RestWatch, path_of

#: Deleted in two steps, so that a writer with an older revision cannot bring them back: first marked by a
#: compare-and-swap, then removed.
_TOMBSTONED = (IPAMBlock, BlockAffinity, IPAMHandle)


class _Named(msgspec.Struct):
    metadata: ObjectMeta = msgspec.field(default_factory=ObjectMeta)


class CRDStore(Generic[R]):
    """One kind. The same methods as datastore.Client, without the kind."""

    def __init__(self, rest: Rest, kind: Kind, resource_type: type[R]) -> None:
        self._rest = rest
        self._kind = kind
        self._type = resource_type
        self._decoder = shapes.decoder(resource_type)

    def create(self, resource: R) -> R:
        key = self._key(resource.metadata.namespace, resource.metadata.name)
        new = resource
        if not resource.metadata.creation_timestamp:
            # The time that other readers show is the one in the annotation.
            now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
            stamped = msgspec.structs.replace(resource.metadata, creation_timestamp=now)
            new = msgspec.structs.replace(resource, metadata=stamped)
        written = metadata.to_crd(new)
        written.metadata.name = self._name(written.metadata.name)
        try:
            return self._decode(self._rest.request("POST", self._path(key, named=False), body=written))
        except DatastoreError as error:
            raise translate(error, key) from error

    def get(self, name: str, namespace: str) -> R:
        key = self._key(namespace, name)
        try:
            found = self._decode(self._rest.request("GET", self._path(key)))
        except DatastoreError as error:
            raise translate(error, key) from error
        if is_tombstone(found):
            # Whoever marked it did not come to remove it: finish that, so that the name is free again.
            self._remove(key, found)
            raise NotFound(key)
        return found

    def each(self) -> Iterator[R]:
        """Page by page; what cannot be decoded is reported and left out."""
        try:
            for page in self._rest.pages(self._path(self._key("", ""), named=False)):
                yield from self._readable(page.items, "")
        except DatastoreError as error:
            raise translate(error, self._key("", "")) from error

    def list(self, namespace: str, name_prefix: str, *, cached: bool) -> ResourceList[R]:
        path = self._path(self._key(namespace, ""), named=False)
        try:
            page = self._rest.list_raw(path, cached=cached)
        except DatastoreError as error:
            # A definition that is not installed shows as NotFound, which feeds know how to wait for.
            raise translate(error, self._key(namespace, "")) from error
        items = list(self._readable(page.items, name_prefix))
        items.sort(key=lambda item: (item.metadata.namespace, item.metadata.name))
        return ResourceList(items, page.revision)

    def _readable(self, raws: Iterable[msgspec.Raw], name_prefix: str) -> Iterator[R]:
        for raw in raws:
            try:
                item = self._decode(raw)
            except Invalid as error:
                _reject(self._kind.name, error)
                continue
            if item.metadata.name.startswith(name_prefix) and not (
                self._type is BlockAffinity and is_tombstone(item)
            ):
                yield item

    def update(self, resource: R) -> R:
        key = self._key(resource.metadata.namespace, resource.metadata.name)
        written = metadata.to_crd(resource)
        written.metadata.name = self._name(written.metadata.name)
        try:
            return self._decode(self._rest.request("PUT", self._path(key), body=written))
        except DatastoreError as error:
            raise translate(error, key) from error

    def delete(self, name: str, namespace: str, *, revision: str, uid: str) -> R | None:
        key = self._key(namespace, name)
        current = self.get(name, namespace)
        if (revision and revision != current.metadata.resource_version) or (
            uid and uid != current.metadata.uid
        ):
            raise Conflict(key)
        if isinstance(current, _TOMBSTONED):
            marked = self.update(_marked(current))
            self._remove(key, marked)
            return current
        try:
            self._rest.delete(
                self._path(key),
                uid=_crd_uid(current.metadata.uid),
                revision=current.metadata.resource_version if revision else "",
            )
        except DatastoreError as error:
            raise translate(error, key) from error
        return current

    def watch(self, namespace: str, *, revision: str, name: str) -> CRDWatch[R]:
        query = {"fieldSelector": f"metadata.name={self._name(name)}"} if name else None
        path = self._path(self._key(namespace, ""), named=False)
        try:
            return CRDWatch(self, self._rest.watch(path, revision=revision, query=query))
        except DatastoreError as error:
            raise translate(error, self._key(namespace, name)) from error

    @property
    def kind_name(self) -> str:
        return self._kind.name

    def decode_event(self, raw: msgspec.Raw) -> R:
        return self._decode(raw)

    def placeholder(self, raw: msgspec.Raw) -> R:
        """An object of the kind that has only the names of ``raw``, for what cannot be decoded."""
        named = shapes.decode(raw, _Named).metadata
        return self._type(
            metadata=ObjectMeta(
                name=named.name, namespace=named.namespace, resource_version=named.resource_version
            )
        )

    def _remove(self, key: Key, marked: R) -> None:
        try:
            self._rest.delete(self._path(key), uid=_crd_uid(marked.metadata.uid))
        except DatastoreError as error:
            translated = translate(error, key)
            if not isinstance(translated, (NotFound, Conflict)):
                raise translated from error

    def _decode(self, data: bytes | msgspec.Raw) -> R:
        try:
            return metadata.from_crd(self._decoder.decode(data))
        except (msgspec.DecodeError, ValueError) as error:
            try:
                name = shapes.decode(data, _Named).metadata.name
            except msgspec.DecodeError:
                name = "?"
            raise Invalid(f"{self._kind.name} {name} cannot be decoded: {error}") from error

    def _key(self, namespace: str, name: str) -> Key:
        return Key(self._kind.name, namespace if self._kind.namespaced else "", name)

    def _name(self, name: str) -> str:
        """Handles are stored under a lower-case name; their spec keeps the case."""
        return name.lower() if self._type is IPAMHandle else name

    def _path(self, key: Key, *, named: bool = True) -> str:
        return path_of(
            CRD_API_VERSION, self._kind.plural, key.namespace, self._name(key.name) if named else ""
        )


class CRDWatch(Generic[R]):
    """Turns raw events into the kind's. What cannot be decoded any more counts as deleted."""

    def __init__(self, store: CRDStore[R], stream: RestWatch) -> None:
        self._store = store
        self._stream = stream

    def __iter__(self) -> Iterator[Event[R]]:
        for event in self._stream:
            kind = EventType(event.type)
            if kind is EventType.BOOKMARK:
                yield Event(kind, None, self._store.placeholder(event.object).metadata.resource_version)
                continue
            try:
                resource = self._store.decode_event(event.object)
            except Invalid as error:
                _reject(self._store.kind_name, f"{error}; it counts as deleted")
                resource, kind = self._store.placeholder(event.object), EventType.DELETED
            if (
                kind is not EventType.DELETED
                and isinstance(resource, BlockAffinity)
                and is_tombstone(resource)
            ):
                kind = EventType.DELETED
            yield Event(kind, resource, resource.metadata.resource_version)

    def close(self) -> None:
        self._stream.close()


def _reject(kind: str, reason: object) -> None:
    from pycalico.datastore import rejects  # noqa: PLC0415 (nothing to say, nothing to load)

    rejects.report(kind, reason)


def is_tombstone(resource: object) -> bool:
    if isinstance(resource, BlockAffinity):
        return resource.spec.deleted == "true"
    return isinstance(resource, (IPAMBlock, IPAMHandle)) and resource.spec.deleted


def _marked(resource: R) -> R:
    if isinstance(resource, BlockAffinity):
        return msgspec.structs.replace(resource, spec=msgspec.structs.replace(resource.spec, deleted="true"))
    if isinstance(resource, (IPAMBlock, IPAMHandle)):
        return msgspec.structs.replace(resource, spec=msgspec.structs.replace(resource.spec, deleted=True))
    return resource


def _crd_uid(v3_uid: str) -> str:
    return uid.reverse(v3_uid) if v3_uid else ""
