"""What every resource has: kind, apiVersion, metadata; and lists of resources."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Generic, TypeVar

import msgspec

from pycalico.api.wire import Struct

API_VERSION = "projectcalico.org/v3"
CRD_GROUP = "crd.projectcalico.org"
CRD_API_VERSION = "crd.projectcalico.org/v1"


class OwnerReference(Struct):
    api_version: str = msgspec.field(default_factory=str)
    kind: str = msgspec.field(default_factory=str)
    name: str = msgspec.field(default_factory=str)
    uid: str = msgspec.field(default_factory=str)
    controller: bool | None = None
    block_owner_deletion: bool | None = None


class ObjectMeta(Struct):
    """Kubernetes object metadata. Times are RFC 3339 strings in UTC; ``resource_version`` is opaque."""

    name: str = ""
    generate_name: str = ""
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    generation: int = 0
    creation_timestamp: str | None = None
    deletion_timestamp: str | None = None
    deletion_grace_period_seconds: int | None = None
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    owner_references: list[OwnerReference] = []
    finalizers: list[str] = []


class Resource(Struct):
    """One object of one kind. Subclasses set ``kind`` and add ``spec`` (and ``status`` where there is one)."""

    kind: str = msgspec.field(default_factory=str)
    api_version: str = msgspec.field(default_factory=lambda: API_VERSION)
    metadata: ObjectMeta = msgspec.field(default_factory=ObjectMeta)

    @property
    def key(self) -> Key:
        return Key(self.kind, self.metadata.namespace, self.metadata.name)


class Key(msgspec.Struct, frozen=True, order=True):
    """Names one resource; ``namespace`` is empty for cluster kinds."""

    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        """``Kind(namespace/name)``, the form of upstream's messages."""
        path = f"{self.namespace}/{self.name}" if self.namespace else self.name
        return f"{self.kind}({path})"


R = TypeVar("R", bound=Resource)


class ResourceList(msgspec.Struct, Generic[R]):
    """The answer to a list: the items and the revision from which a watch continues without a gap."""

    items: list[R]
    revision: str = ""

    def __iter__(self) -> Iterator[R]:
        return iter(self.items)

    def __len__(self) -> int:
        return len(self.items)


def kind_field(name: str) -> Any:
    """The ``kind`` of a subclass of Resource: fixed, and always written."""
    return msgspec.field(default_factory=lambda: name)
