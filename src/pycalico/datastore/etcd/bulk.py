"""Many objects in one request, for who mirrors thousands: reads of up to a hundred keys, and compare-and-swap
writes of as many that all happen or none.

A round trip through the gateway costs about as much for a hundred keys as for one.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Sequence
from typing import Generic

import msgspec

from pycalico.api.meta import R
from pycalico.datastore.errors import Invalid
from pycalico.datastore.etcd.answers import KeyValue
from pycalico.datastore.etcd.client import EtcdClient
from pycalico.datastore.etcd.gateway import Change

#: etcd refuses transactions of more than 128 operations unless told otherwise.
MOST = 100
_PAGE = 500


class Found(msgspec.Struct, Generic[R]):
    """A key as it is: ``resource`` None when there is nothing, or (``broken``) nothing that can be understood.

    ``revision`` "0" stands for absent.
    """

    namespace: str
    name: str
    resource: R | None = None
    revision: str = "0"
    broken: str = ""


class Swap(msgspec.Struct, Generic[R]):
    """To be done if the key is still at ``found``'s revision. ``resource`` None deletes."""

    found: Found[R]
    resource: R | None


class Bulk(Generic[R]):
    """One kind of one etcd. Raises DatastoreError."""

    def __init__(self, client: EtcdClient, kind: type[R]) -> None:
        self._gateway = client.gateway
        self._store = client.store(kind)
        self._prefix = self._store.prefix("", "")

    def read(self, keys: Sequence[tuple[str, str]]) -> list[Found[R]]:
        """The present states of at most ``MOST`` keys (namespace, name), in their order."""
        paths = [self._path(*key) for key in keys]
        found: list[Found[R]] = []
        for (namespace, name), answered in zip(keys, self._gateway.read_all(paths), strict=True):
            kv = answered.kvs[0] if answered.kvs else None
            found.append(self._found(namespace, name, kv) if kv else Found(namespace, name))
        return found

    def swap(self, swaps: Iterable[Swap[R]]) -> bool:
        """All of them (at most ``MOST``), or nothing and False when one of the keys has changed meanwhile."""
        changes = [
            Change(
                self._path(swap.found.namespace, swap.found.name),
                None if swap.resource is None else self._encode(swap),
                None if swap.found.revision == "0" else swap.found.revision,
            )
            for swap in swaps
        ]
        return self._gateway.all_or_none(changes).succeeded

    def scan(self) -> Iterator[Found[R]]:
        """Every key of the kind as of one moment, without holding all of them."""
        for page in self._gateway.pages(self._prefix, _PAGE):
            for kv in page.kvs:
                namespace, _, name = kv.key.decode()[len(self._prefix) :].rpartition("/")
                yield self._found(namespace, name, kv)

    def _path(self, namespace: str, name: str) -> str:
        return self._prefix + (f"{namespace}/{name}" if namespace else name)

    def _found(self, namespace: str, name: str, kv: KeyValue) -> Found[R]:
        try:
            resource = self._store.decode(kv.key.decode(), kv.value)
        except Invalid as error:
            return Found(namespace, name, None, kv.mod_revision, str(error))
        return Found(namespace, name, resource, kv.mod_revision)

    def _encode(self, swap: Swap[R]) -> bytes:
        new = copy.copy(swap.resource)
        assert new is not None  # noqa: S101 - a deletion has no value
        new.metadata = copy.copy(new.metadata)
        if swap.found.resource is None:
            self._store.fresh(new)
        return self._store.encode(new)
