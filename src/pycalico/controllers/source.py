"""Kubernetes' own kinds as the feeds read them: listed page by page, watched, and reduced to what is needed.

An object that cannot be understood still counts as there: what was made of it before is left alone.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any, Generic, cast

import msgspec

from pycalico.api.meta import ObjectMeta, R, Resource, ResourceList, kind_field
from pycalico.base import shapes
from pycalico.datastore.client import Event, EventType, Watch
from pycalico.datastore.errors import Unavailable
from pycalico.datastore.kubernetes import core
from pycalico.datastore.kubernetes.rest import Rest, RestWatch, StatusError, path_of

log = logging.getLogger(__name__)


class KubernetesKind(msgspec.Struct, frozen=True):
    """How one kind is fetched. ``convert`` raises ValueError for what it cannot make sense of; ``blank`` makes
    the object that then stands for it.
    """

    kind: type[Resource]
    api: str
    plural: str
    core: type[core.Core]
    convert: Callable[[Any], Resource]
    blank: Callable[[ObjectMeta], Resource]


class Mirrored(Resource):
    """A Kubernetes object of which Calico keeps a copy: ``wanted`` is the copy's encoded spec, None when the
    object cannot be converted.
    """

    wanted: bytes | None = None


class MirroredPolicy(Mirrored):
    kind: str = kind_field("KubernetesNetworkPolicy")


class MirroredNamespace(Mirrored):
    kind: str = kind_field("KubernetesNamespace")


class MirroredServiceAccount(Mirrored):
    kind: str = kind_field("KubernetesServiceAccount")


class KubernetesSource:
    """``Source`` of feeds over a real API server, for ``kinds``."""

    def __init__(self, rest: Rest, kinds: list[KubernetesKind]) -> None:
        self._rest = rest
        self._kinds = {each.kind: _Reader(each) for each in kinds}

    def list(
        self,
        kind: type[R],
        namespace: str = "",
        *,
        name_prefix: str = "",  # noqa: ARG002
        cached: bool = False,  # noqa: ARG002 - the server's cache answers in one piece, however large
    ) -> ResourceList[R]:
        reader = self._kinds[kind]
        items: list[Any] = []
        revision = ""
        try:
            for page in self._rest.pages(reader.path(namespace)):
                items += [found for found in map(reader.read, page.items) if found is not None]
                revision = page.revision
        except StatusError as error:
            # These kinds are always there. "Not found" is a proxy's or a starting server's word, and must not be
            # taken for an empty list: everything made of it would be removed.
            raise Unavailable(f"cannot list {reader.path(namespace)}: {error}") from error
        return ResourceList(items, revision)

    def watch(self, kind: type[R], namespace: str = "", *, revision: str = "", name: str = "") -> Watch[R]:
        reader = self._kinds[kind]
        query = {"fieldSelector": f"metadata.name={name}"} if name else None
        stream = self._rest.watch(reader.path(namespace), revision=revision, query=query)
        return cast("Watch[R]", _Watch(stream, reader))

    def ping(self, timeout_s: float) -> None:
        self._rest.ping(timeout_s)


class _Named(msgspec.Struct):
    metadata: ObjectMeta = msgspec.field(default_factory=ObjectMeta)


class _Reader:
    def __init__(self, kind: KubernetesKind) -> None:
        self._kind = kind
        self._decoder: msgspec.json.Decoder[core.Core] = shapes.decoder(kind.core)

    def path(self, namespace: str) -> str:
        return path_of(self._kind.api, self._kind.plural, namespace)

    def read(self, raw: msgspec.Raw) -> Resource | None:
        """None when not even the name can be read."""
        try:
            return self._kind.convert(self._decoder.decode(raw))
        except (ValueError, TypeError) as error:
            meta = self.meta(raw)
            if meta is None:
                log.warning("ignoring one of the %s without a readable name: %s", self._kind.plural, error)
                return None
            name = f"{meta.namespace}/{meta.name}" if meta.namespace else meta.name
            log.warning("%s %s cannot be converted, left as it was: %s", self._kind.plural, name, error)
            return self._kind.blank(meta)

    @staticmethod
    def meta(raw: msgspec.Raw) -> ObjectMeta | None:
        try:
            found = shapes.decode(raw, _Named).metadata
        except msgspec.DecodeError:
            return None
        return ObjectMeta(
            name=found.name,
            namespace=found.namespace,
            uid=found.uid,
            resource_version=found.resource_version,
        )

    def gone(self, meta: ObjectMeta) -> Resource:
        return self._kind.kind(metadata=meta)


class _Watch(Generic[R]):
    def __init__(self, stream: RestWatch, reader: _Reader) -> None:
        self._stream = stream
        self._reader = reader

    def __iter__(self) -> Iterator[Event[Any]]:
        for event in self._stream:
            kind = EventType(event.type)
            meta = self._reader.meta(event.object)
            if meta is None:
                log.warning("ignoring an event without a readable name")
                continue
            revision = meta.resource_version
            if kind is EventType.BOOKMARK:
                yield Event(kind, None, revision)
            elif kind is EventType.DELETED:
                yield Event(kind, self._reader.gone(meta), revision)
            else:
                yield Event(kind, self._reader.read(event.object), revision)

    def close(self) -> None:
        self._stream.close()
