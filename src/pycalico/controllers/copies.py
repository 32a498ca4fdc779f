"""What each mirror writes where: Kubernetes' objects in Calico's form. Pure.

Names tell whose an object is: with one of our prefixes it is ours to write and delete, any other is never touched.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Generic, Protocol

import msgspec

from pycalico.api import names
from pycalico.api.meta import ObjectMeta, R, Resource
from pycalico.api.v3.networkpolicy import NetworkPolicy, NetworkPolicySpec
from pycalico.api.v3.profile import Profile, ProfileSpec
from pycalico.api.v3.workloadendpoint import WorkloadEndpoint
from pycalico.base import shapes
from pycalico.controllers.kubernetes import KubernetesPod
from pycalico.controllers.source import (
    KubernetesKind,
    Mirrored,
    MirroredNamespace,
    MirroredPolicy,
    MirroredServiceAccount,
)
from pycalico.datastore.etcd.bulk import Found, Swap
from pycalico.datastore.kubernetes import core
from pycalico.datastore.kubernetes.convert import networkpolicy as policy_convert
from pycalico.datastore.kubernetes.convert import profile as profile_convert
from pycalico.syncer.update import Update

#: Namespace and name of an object in etcd.
Target = tuple[str, str]
#: Told what could not be converted: namespace, name and uid of the policy, and why.
Complaint = Callable[[ObjectMeta, str], None]

_encoder = msgspec.json.Encoder(order="deterministic")
_SERVICE_ACCOUNT_LABEL_MOST = 63


class Copying(Protocol[R]):
    """What should be in etcd, as far as Kubernetes has told; not thread-safe."""

    source: type[Resource]
    target: type[R]

    def take(self, update: Update) -> Target | None:
        """Notes a change of Kubernetes'; returns the key that may have to be written for it."""

    def look(self, found: Found[R]) -> Swap[R] | None:
        """What to do about a key as it is."""

    def missing(self, seen: set[Target]) -> Iterable[Target]:
        """Keys that should be there but are not among ``seen``."""


class Copies(Generic[R]):
    """One object of ours for each of Kubernetes'. Held in encoded form, a tenth of the structs' memory."""

    def __init__(
        self,
        source: type[Mirrored],
        target: type[R],
        spec: type[msgspec.Struct],
        named: Callable[[ObjectMeta], Target],
        prefix: str,
    ) -> None:
        self.source: type[Resource] = source
        self.target = target
        self._spec = shapes.decoder(spec)
        self._named = named
        self._prefix = prefix
        self._wanted: dict[Target, bytes | None] = {}

    def take(self, update: Update) -> Target | None:
        key, value = update.key, update.value
        target = self._named(ObjectMeta(name=key.name, namespace=key.namespace))
        if not isinstance(value, Mirrored):
            self._wanted.pop(target, None)
            return target
        if value.wanted is None:
            # Not understood: the copy made of an earlier state stays.
            self._wanted.setdefault(target, None)
            return None
        if self._wanted.get(target) == value.wanted:
            return None
        self._wanted[target] = value.wanted
        return target

    def look(self, found: Found[R]) -> Swap[R] | None:
        target = (found.namespace, found.name)
        if not found.name.startswith(self._prefix):
            return None
        if target not in self._wanted:
            return Swap(found, None) if found.revision != "0" else None
        wanted = self._wanted[target]
        if wanted is None:
            return None
        resource: Any = found.resource
        if resource is not None:
            if encode(resource.spec) == wanted:
                return None
            return Swap(found, msgspec.structs.replace(resource, spec=self._spec.decode(wanted)))
        new: Any = self.target()
        new.metadata = ObjectMeta(name=found.name, namespace=found.namespace)
        new.spec = self._spec.decode(wanted)
        return Swap(found, new)

    def missing(self, seen: set[Target]) -> Iterable[Target]:
        return [key for key, wanted in self._wanted.items() if wanted is not None and key not in seen]


class EndpointLabels:
    """The pods' labels and service accounts on endpoints that the CNI plugin made. Makes and deletes none."""

    source: type[Resource] = KubernetesPod
    target = WorkloadEndpoint

    def __init__(self) -> None:
        self._pods: dict[Target, KubernetesPod] = {}

    def take(self, update: Update) -> Target | None:
        key, pod = update.key, update.value
        identity = (key.namespace, key.name)
        if not isinstance(pod, KubernetesPod) or pod.host_network or not pod.node:
            self._pods.pop(identity, None)
            return None
        before = self._pods.get(identity)
        self._pods[identity] = pod
        if before is not None and _wanted_labels(before) == _wanted_labels(pod) and before.node == pod.node:
            return None
        return key.namespace, names.workload_endpoint(pod.node, "k8s", key.name, "eth0")

    def look(self, found: Found[WorkloadEndpoint]) -> Swap[WorkloadEndpoint] | None:
        endpoint = found.resource
        if endpoint is None or endpoint.spec.orchestrator != "k8s":
            return None
        pod = self._pods.get((found.namespace, endpoint.spec.pod))
        if pod is None:
            return None
        labels = _wanted_labels(pod)
        if endpoint.metadata.labels == labels and endpoint.spec.service_account_name == pod.service_account:
            return None
        return Swap(
            found,
            msgspec.structs.replace(
                endpoint,
                metadata=msgspec.structs.replace(endpoint.metadata, labels=labels),
                spec=msgspec.structs.replace(endpoint.spec, service_account_name=pod.service_account),
            ),
        )

    def missing(self, seen: set[Target]) -> Iterable[Target]:  # noqa: ARG002
        return []


def encode(spec: object) -> bytes:
    """Equal specs, however written, give equal bytes."""
    return _encoder.encode(spec)


def policies() -> Copies[NetworkPolicy]:
    def named(meta: ObjectMeta) -> Target:
        return meta.namespace, policy_convert.NAME_PREFIX + meta.name

    return Copies(MirroredPolicy, NetworkPolicy, NetworkPolicySpec, named, policy_convert.NAME_PREFIX)


def namespaces() -> Copies[Profile]:
    def named(meta: ObjectMeta) -> Target:
        return "", names.namespace_profile(meta.name)

    return Copies(MirroredNamespace, Profile, ProfileSpec, named, names.NAMESPACE_PROFILE_PREFIX)


def service_accounts() -> Copies[Profile]:
    def named(meta: ObjectMeta) -> Target:
        return "", names.service_account_profile(meta.namespace, meta.name)

    return Copies(MirroredServiceAccount, Profile, ProfileSpec, named, names.SERVICE_ACCOUNT_PROFILE_PREFIX)


def kinds(complain: Complaint) -> list[KubernetesKind]:
    """How policies, namespaces and service accounts are read."""

    def policy(found: core.NetworkPolicy) -> MirroredPolicy:
        converted = policy_convert.from_kubernetes(found, lambda why: complain(found.metadata, why))
        return MirroredPolicy(metadata=_plain(found.metadata), wanted=encode(converted.spec))

    def namespace(found: core.Namespace) -> MirroredNamespace:
        spec = profile_convert.from_namespace(found).spec
        return MirroredNamespace(metadata=_plain(found.metadata), wanted=encode(spec))

    def account(found: core.ServiceAccount) -> MirroredServiceAccount:
        spec = profile_convert.from_service_account(found).spec
        return MirroredServiceAccount(metadata=_plain(found.metadata), wanted=encode(spec))

    def blank(made: type[Mirrored]) -> Callable[[ObjectMeta], Resource]:
        return lambda meta: made(metadata=meta)

    def blank_policy(meta: ObjectMeta) -> Resource:
        complain(meta, "it cannot be read; what was made of it before stays")
        return MirroredPolicy(metadata=meta)

    networking = "networking.k8s.io/v1"
    return [
        KubernetesKind(
            MirroredPolicy, networking, "networkpolicies", core.NetworkPolicy, policy, blank_policy
        ),
        KubernetesKind(
            MirroredNamespace, "v1", "namespaces", core.Namespace, namespace, blank(MirroredNamespace)
        ),
        KubernetesKind(
            MirroredServiceAccount,
            "v1",
            "serviceaccounts",
            core.ServiceAccount,
            account,
            blank(MirroredServiceAccount),
        ),
    ]


def _plain(meta: ObjectMeta) -> ObjectMeta:
    return ObjectMeta(name=meta.name, namespace=meta.namespace, resource_version=meta.resource_version)


def _wanted_labels(pod: KubernetesPod) -> dict[str, str]:
    labels = {
        **pod.metadata.labels,
        "projectcalico.org/namespace": pod.metadata.namespace,
        "projectcalico.org/orchestrator": "k8s",
    }
    account = pod.service_account
    if account and len(account) < _SERVICE_ACCOUNT_LABEL_MOST:
        labels["projectcalico.org/serviceaccount"] = account
    return labels
