"""datastore.Client over a Kubernetes API server: each kind goes to its store."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, cast

import msgspec

from pycalico.api.kinds import KINDS, kind_of
from pycalico.api.meta import Key, R, Resource, ResourceList
from pycalico.api.v3 import kubernetes as kubernetes_kinds
from pycalico.api.v3.networkpolicy import KubernetesNetworkPolicy
from pycalico.datastore.client import Watch, Write
from pycalico.datastore.errors import NotFound, NotSupported
from pycalico.datastore.kubernetes import core
from pycalico.datastore.kubernetes.convert import networkpolicy as policy_convert
from pycalico.datastore.kubernetes.crd import CRDStore
from pycalico.datastore.kubernetes.rest import Rest
from pycalico.datastore.kubernetes.views import Nodes, Profiles, View, WorkloadEndpoints


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
        match kind.name:
            case "WorkloadEndpoint":
                return WorkloadEndpoints(self.rest, self._prefix)
            case "Node":
                return Nodes(self.rest)
            case "Profile":
                return Profiles(self.rest)
            case "KubernetesNetworkPolicy":
                return KubernetesPolicies(self.rest)
            case "KubernetesService":
                return View(self.rest, kind.name, ("v1", "services"), _Service, _service)
            case "KubernetesEndpointSlice":
                return View(self.rest, kind.name, ("discovery.k8s.io/v1", "endpointslices"), _Slice, _slice)
        raise NotSupported("List", kind.name)


class KubernetesPolicies(View[core.NetworkPolicy, KubernetesNetworkPolicy]):
    """networking.k8s.io policies under their Calico names (``knp.default.<name>``)."""

    def __init__(self, rest: Rest) -> None:
        api = ("networking.k8s.io/v1", "networkpolicies")
        super().__init__(
            rest, "KubernetesNetworkPolicy", api, core.NetworkPolicy, policy_convert.from_kubernetes
        )

    def get(self, name: str, namespace: str) -> KubernetesNetworkPolicy:
        plain = name.removeprefix(policy_convert.NAME_PREFIX)
        if plain == name:
            raise NotFound(Key(self.kind, namespace, name))
        return super().get(plain, namespace)


class _Service(core.Core):
    spec: kubernetes_kinds.ServiceSpec = msgspec.field(default_factory=kubernetes_kinds.ServiceSpec)
    status: kubernetes_kinds.ServiceStatus = msgspec.field(default_factory=kubernetes_kinds.ServiceStatus)


class _Slice(core.Core):
    address_type: str = ""
    endpoints: list[kubernetes_kinds.SliceEndpoint] | None = []
    ports: list[kubernetes_kinds.SlicePort] | None = []


def _service(source: _Service) -> kubernetes_kinds.KubernetesService:
    return kubernetes_kinds.KubernetesService(
        metadata=source.metadata, spec=source.spec, status=source.status
    )


def _slice(source: _Slice) -> kubernetes_kinds.KubernetesEndpointSlice:
    return kubernetes_kinds.KubernetesEndpointSlice(
        metadata=source.metadata,
        address_type=source.address_type,
        endpoints=source.endpoints or [],
        ports=source.ports or [],
    )


#: Kinds that this datastore serves.
SUPPORTED = frozenset(KINDS)
