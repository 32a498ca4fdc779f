"""Kubernetes' own policies, services and endpoint slices, to be listed and watched."""

from __future__ import annotations

import msgspec

from pycalico.api.meta import Key
from pycalico.api.v3 import kubernetes as kubernetes_kinds
from pycalico.api.v3.networkpolicy import KubernetesNetworkPolicy
from pycalico.datastore.errors import NotFound
from pycalico.datastore.kubernetes import core
from pycalico.datastore.kubernetes.convert import networkpolicy as policy_convert
from pycalico.datastore.kubernetes.rest import Rest
from pycalico.datastore.kubernetes.views import View


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


def services(rest: Rest) -> View[_Service, kubernetes_kinds.KubernetesService]:
    return View(rest, "KubernetesService", ("v1", "services"), _Service, _service)


def endpoint_slices(rest: Rest) -> View[_Slice, kubernetes_kinds.KubernetesEndpointSlice]:
    api = ("discovery.k8s.io/v1", "endpointslices")
    return View(rest, "KubernetesEndpointSlice", api, _Slice, _slice)
