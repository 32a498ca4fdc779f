"""One kind's place and form in etcd: its keys, and how its value is written and read."""

from __future__ import annotations

import time
from typing import Generic

import msgspec

from pycalico.api.kinds import Kind
from pycalico.api.meta import Key, R
from pycalico.base import shapes
from pycalico.datastore.errors import Invalid
from pycalico.datastore.etcd import keys
from pycalico.datastore.etcd.gateway import Gateway


class Store(Generic[R]):
    """A kind of the v3 API: the whole object as JSON, without its revision."""

    def __init__(self, kind: Kind, resource_type: type[R]) -> None:
        self.kind = kind
        self._type = resource_type
        self._decoder = shapes.decoder(resource_type)

    def key_of(self, resource: R) -> str:
        return keys.resource(self.kind, resource.metadata.namespace, resource.metadata.name)

    def key(self, gateway: Gateway, namespace: str, name: str) -> str | None:  # noqa: ARG002
        """The key of a name; None when nothing of that name can be found."""
        return keys.resource(self.kind, namespace, name)

    def prefix(self, namespace: str, name_prefix: str) -> str:
        return keys.prefix(self.kind, namespace) + (
            name_prefix if namespace or not self.kind.namespaced else ""
        )

    def identity(self, namespace: str, name: str) -> Key:
        return Key(self.kind.name, namespace if self.kind.namespaced else "", name)

    def encode(self, resource: R) -> bytes:
        """As upstream writes it: maps in the order of their keys, a whole ``spec.order`` without a fraction."""
        meta = resource.metadata
        spec = getattr(resource, "spec", None)
        order = getattr(spec, "order", None)
        revision, meta.resource_version = meta.resource_version, ""
        try:
            if isinstance(order, float) and order.is_integer():
                spec.order = int(order)  # type: ignore[union-attr]
            return msgspec.json.encode(resource, order="deterministic")
        finally:
            meta.resource_version = revision
            if order is not None:
                spec.order = order  # type: ignore[union-attr]

    def decode(self, key: str, value: bytes) -> R | None:
        """None when the key is not of this kind. Raises Invalid."""
        try:
            return self._decoder.decode(value)
        except (msgspec.DecodeError, ValueError) as error:
            raise Invalid(f"the value of {key} cannot be decoded: {error}") from error

    def fresh(self, resource: R) -> None:
        """Fills in what a new object gets."""
        import uuid  # noqa: PLC0415 (readers do without)

        meta = resource.metadata
        meta.uid = meta.uid or str(uuid.uuid4())
        meta.creation_timestamp = meta.creation_timestamp or time.strftime(
            "%Y-%m-%dT%H:%M:%SZ", time.gmtime()
        )
