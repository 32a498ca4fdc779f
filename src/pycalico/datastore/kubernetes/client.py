"""datastore.Client over a Kubernetes API server: each kind goes to its store."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, cast

from pycalico.api.kinds import KINDS, kind_of
from pycalico.api.meta import R, Resource, ResourceList
from pycalico.datastore.client import Watch, Write
from pycalico.datastore.errors import NotSupported
from pycalico.datastore.kubernetes.crd import CRDStore
from pycalico.datastore.kubernetes.rest import Rest


class KubernetesClient:
    """``rest`` stays usable for core objects, by the programs that need them."""

    #: Nodes are Kubernetes' own: they cannot be deleted through Calico.
    owns_nodes = False
    transacts = False

    def __init__(self, rest: Rest, *, interface_prefix: str = "cali") -> None:
        self.rest = rest
        self._prefix = interface_prefix
        self._stores: dict[str, Any] = {}

    def create(self, resource: R) -> R:
        return cast("R", self._store(type(resource)).create(resource))

    def get(self, kind: type[R], name: str, namespace: str = "", *, revision: str = "") -> R:  # noqa: ARG002
        return cast("R", self._store(kind).get(name, namespace))

    def list(
        self, kind: type[R], namespace: str = "", *, name_prefix: str = "", cached: bool = False
    ) -> ResourceList[R]:
        return cast("ResourceList[R]", self._store(kind).list(namespace, name_prefix, cached=cached))

    def each(self, kind: type[R]) -> Iterator[R]:
        """All objects of the kind, page by page, never all of them in memory."""
        return cast("Iterator[R]", self._store(kind).each())

    def update(self, resource: R) -> R:
        return cast("R", self._store(type(resource)).update(resource))

    def update_status(self, resource: R) -> R:
        # The CRDs have no status sub-resource, and a node's annotations are written through its status anyway.
        return self.update(resource)

    def delete(
        self, kind: type[R], name: str, namespace: str = "", *, revision: str = "", uid: str = ""
    ) -> R | None:
        return cast("R | None", self._store(kind).delete(name, namespace, revision=revision, uid=uid))

    def ping(self, timeout_s: float) -> None:
        self.rest.ping(timeout_s)

    def transact(self, writes: Sequence[Write]) -> Sequence[Resource]:  # noqa: ARG002
        raise NotSupported("Transact", "")

    def watch(self, kind: type[R], namespace: str = "", *, revision: str = "", name: str = "") -> Watch[R]:
        return cast("Watch[R]", self._store(kind).watch(namespace, revision=revision, name=name))

    def close(self) -> None:
        self.rest.close()

    def _store(self, resource_type: type[R]) -> Any:
        name = resource_type.__name__
        store = self._stores.get(name)
        if store is None:
            store = self._stores[name] = self._make(resource_type)
        return store

    def _make(self, resource_type: type[R]) -> object:
        kind = kind_of(resource_type)
        if kind.crd:
            return CRDStore(self.rest, kind, resource_type)
        # What turns core objects into Calico's takes 9 ms to load: for those who ask for such kinds.
        from pycalico.datastore.kubernetes import views  # noqa: PLC0415

        match kind.name:
            case "WorkloadEndpoint":
                return views.WorkloadEndpoints(self.rest, self._prefix)
            case "Node":
                return views.Nodes(self.rest)
            case "Profile":
                return views.Profiles(self.rest)
        from pycalico.datastore.kubernetes import networking  # noqa: PLC0415

        match kind.name:
            case "KubernetesNetworkPolicy":
                return networking.KubernetesPolicies(self.rest)
            case "KubernetesService":
                return networking.services(self.rest)
            case "KubernetesEndpointSlice":
                return networking.endpoint_slices(self.rest)
        raise NotSupported("List", kind.name)


#: Kinds that this datastore serves.
SUPPORTED = frozenset(KINDS)
