"""datastore.Client over etcd v3. Revisions are decimal: an object's is its key's, a list's is the store's."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, cast

from pycalico.api.kinds import KINDS, kind_of
from pycalico.api.meta import R, Resource, ResourceList
from pycalico.datastore.client import Watch, Write
from pycalico.datastore.config import DatastoreConfig
from pycalico.datastore.errors import AlreadyExists, Conflict, Invalid, NotFound, NotSupported
from pycalico.datastore.etcd import keys
from pycalico.datastore.etcd.answers import KeyValue
from pycalico.datastore.etcd.gateway import READ_S, Change, Gateway
from pycalico.datastore.etcd.stores import Store

if TYPE_CHECKING:
    from pycalico.api.v3.ipam import BlockAffinity

_PAGE = 5000
_PROFILE, _DEFAULT_ALLOW = "Profile", "projectcalico-default-allow"
_IPAM = frozenset(("IPAMBlock", "BlockAffinity", "IPAMHandle", "IPAMConfig"))
#: Views of Kubernetes' own objects: they exist in the Kubernetes datastore only.
_KUBERNETES_ONLY = frozenset(("KubernetesNetworkPolicy", "KubernetesService", "KubernetesEndpointSlice"))


class EtcdClient:
    """``gateway`` stays usable for keys that are no resources."""

    transacts = True

    def __init__(self, config: DatastoreConfig, *, read_s: float = READ_S) -> None:
        """Raises Invalid for endpoints or certificates that cannot be used. Connects on the first call.

        A call ends after ``read_s`` seconds without a word from the server.
        """
        self.gateway = Gateway(config, read_s=read_s)
        self._stores: dict[str, Store[Any]] = {}

    def create(self, resource: R) -> R:
        store = self.store(type(resource))
        new = _copy(resource)
        store.fresh(new)
        answer = self.gateway.put_if(store.key_of(new), store.encode(new), None)
        if not answer.succeeded:
            raise AlreadyExists(resource.key)
        new.metadata.resource_version = answer.header.revision
        return new

    def ask_ahead(self, kind: str, namespace: str = "", *, each: bool = False) -> None:
        """Says that a `list` of the kind comes soon, or `each` of it."""
        self.gateway.ask_ahead(keys.prefix(KINDS[kind], namespace), _PAGE if each else 0)

    def get(self, kind: type[R], name: str, namespace: str = "", *, revision: str = "") -> R:
        store = self.store(kind)
        identity = store.identity(namespace, name)
        if kind.__name__ == _PROFILE and name == _DEFAULT_ALLOW:
            return cast("R", _default_allow().profile())
        key = store.key(self.gateway, namespace, name)
        kvs = self.gateway.range(key, revision=revision).kvs if key is not None else []
        found = store.decode(kvs[0].key.decode(), kvs[0].value) if kvs else None
        if found is None:
            raise NotFound(identity)
        found.metadata.resource_version = kvs[0].mod_revision
        return found

    def list(
        self,
        kind: type[R],
        namespace: str = "",
        *,
        name_prefix: str = "",
        cached: bool = False,  # noqa: ARG002 (etcd answers every list from its memory)
    ) -> ResourceList[R]:
        store = self.store(kind)
        answer = self.gateway.range(store.prefix(namespace, name_prefix), prefix=True)
        items = [found for found in _read(store, answer.kvs) if found.metadata.name.startswith(name_prefix)]
        if kind.__name__ == _PROFILE and _DEFAULT_ALLOW.startswith(name_prefix):
            items.append(cast("R", _default_allow().profile()))
        return ResourceList(items, answer.header.revision)

    def affinities_of(self, host: str) -> Sequence[BlockAffinity]:
        """Only the host's are read."""
        store = self.store(cast("type[BlockAffinity]", KINDS["BlockAffinity"].type))
        return [*_read(store, self.gateway.range(keys.affinities(host), prefix=True).kvs)]

    def each(self, kind: type[R]) -> Iterator[R]:
        """All objects of the kind as of one moment, in the order of their keys, never all of them in memory."""
        store = self.store(kind)
        for page in self.gateway.pages(store.prefix("", ""), _PAGE):
            yield from _read(store, page.kvs)

    def update(self, resource: R) -> R:
        store = self.store(type(resource))
        revision = resource.metadata.resource_version
        new = _copy(resource)
        # A revision that is no number cannot be the current one.
        answer = self.gateway.put_if(
            store.key_of(new), store.encode(new), revision if revision.isdigit() else "-1"
        )
        if not answer.succeeded:
            raise Conflict(resource.key) if answer.found is not None else NotFound(resource.key)
        new.metadata.resource_version = answer.header.revision
        return new

    def ping(self, timeout_s: float) -> None:
        self.gateway.ping(timeout_s)

    def update_status(self, resource: R) -> R:
        return self.update(resource)

    def delete(
        self, kind: type[R], name: str, namespace: str = "", *, revision: str = "", uid: str = ""
    ) -> R | None:
        store = self.store(kind)
        identity = store.identity(namespace, name)
        if kind.__name__ == _PROFILE and name == _DEFAULT_ALLOW:
            raise NotSupported("Delete", name, _default_allow().REFUSAL.format("deleted"))
        current: R | None = None
        if uid or not revision:
            current = self.get(kind, name, namespace)
            if (uid and uid != current.metadata.uid) or (
                revision and revision != current.metadata.resource_version
            ):
                raise Conflict(identity)
            revision = revision or (current.metadata.resource_version if uid else "")
        key = store.key(self.gateway, namespace, name) if current is None else store.key_of(current)
        if key is None:
            raise NotFound(identity)
        answer = self.gateway.delete_if(key, revision)
        if not answer.succeeded:
            raise Conflict(identity) if answer.found is not None else NotFound(identity)
        return current

    def transact(self, writes: Sequence[Write]) -> Sequence[Resource]:
        changes = []
        for write in writes:
            store, resource = self.store(type(write.resource)), _copy(write.resource)
            revision: str | None = resource.metadata.resource_version
            if write.verb == "create":
                store.fresh(resource)
                revision = None
            value = None if write.verb == "delete" else store.encode(resource)
            changes.append(Change(store.key_of(resource), value, revision))
        answer = self.gateway.all_or_none(changes)
        if not answer.succeeded:
            # Not asked for beforehand: that would cost each transaction a tenth more.
            found = self.gateway.read_all([change.key for change in changes])
            for write, change, now in zip(writes, changes, found, strict=True):
                revision = now.kvs[0].mod_revision if now.kvs else None
                if revision != change.revision:
                    raise Conflict(write.resource.key)
            raise Conflict(writes[0].resource.key)
        stored = [_copy(write.resource) for write in writes]
        for resource in stored:
            resource.metadata.resource_version = answer.header.revision
        return stored

    def watch(self, kind: type[R], namespace: str = "", *, revision: str = "", name: str = "") -> Watch[R]:
        # Loaded by the programs that stay, not by calicoctl.
        from pycalico.datastore.etcd.watch import EtcdWatch  # noqa: PLC0415

        store = self.store(kind)
        key = store.key(self.gateway, namespace, name) if name else store.prefix(namespace, "")
        if key is None:
            raise NotFound(store.identity(namespace, name))
        return EtcdWatch(self.gateway, store, key, revision, prefix=not name)

    def remove_ipam_host(self, host: str) -> None:
        """Drops what is left of a host's IPAM directory. An absent one is fine."""
        self.gateway.delete_if(f"{keys.HOSTS}{host}", "")

    def close(self) -> None:
        self.gateway.close()

    def store(self, resource_type: type[R]) -> Store[R]:
        """Where and how the kind is kept."""
        name = resource_type.__name__
        store = self._stores.get(name)
        if store is None:
            if name in _KUBERNETES_ONLY:
                raise NotSupported("List", name)
            kind = kind_of(resource_type)
            store = self._stores[name] = _store_class(name)(kind, resource_type)
        return store


def _read(store: Store[R], kvs: Iterable[KeyValue]) -> Iterator[R]:
    """Those that make sense; the others are told."""
    for kv in kvs:
        try:
            found = store.decode(kv.key.decode(), kv.value)
        except Invalid as error:
            _reject(store.kind.name, f"{kv.key.decode()}: {error}")
            continue
        if found is not None:
            found.metadata.resource_version = kv.mod_revision
            yield found


def _store_class(name: str) -> type[Store[Any]]:
    if name not in _IPAM:
        return Store
    from pycalico.datastore.etcd.ipamstores import IPAM_STORES  # noqa: PLC0415 (few calls touch IPAM)

    return IPAM_STORES[name]


def _default_allow() -> Any:
    from pycalico.datastore import defaultallow  # noqa: PLC0415 (few calls touch profiles)

    return defaultallow


def _reject(kind: str, reason: object) -> None:
    from pycalico.datastore import rejects  # noqa: PLC0415 (nothing to say, nothing to load)

    rejects.report(kind, reason)


def _copy(resource: R) -> R:
    """A copy whose metadata can be changed without changing the caller's."""
    new = copy.copy(resource)
    new.metadata = copy.copy(resource.metadata)
    return new
