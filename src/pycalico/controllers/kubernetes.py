"""The cluster as Kubernetes knows it: pods and nodes, as a feed and as fresh reads.

Two different ways to the same facts, on purpose: what the feed says is never enough to release an address.
"""

from __future__ import annotations

import ipaddress
import logging
from enum import Enum
from typing import Protocol

import msgspec

from pycalico.api.meta import ObjectMeta, Resource, kind_field
from pycalico.controllers.source import KubernetesKind
from pycalico.datastore.errors import DatastoreError
from pycalico.datastore.kubernetes import core
from pycalico.datastore.kubernetes.convert import pod as pod_convert
from pycalico.datastore.kubernetes.rest import Rest, StatusError, path_of

log = logging.getLogger(__name__)

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

_NETWORK_STATUS = "k8s.v1.cni.cncf.io/network-status"


class KubernetesPod(Resource):
    """The little of a pod that garbage collection and endpoints need; ``metadata.labels`` are the pod's.

    ``addresses`` are all that the pod may be using; None when that is not known (yet), which protects every
    address that IPAM holds for it.
    """

    kind: str = kind_field("KubernetesPod")
    node: str = ""
    addresses: frozenset[IPAddress] | None = None
    host_network: bool = False
    service_account: str = ""


class KubernetesNode(Resource):
    """A node's name and labels."""

    kind: str = kind_field("KubernetesNode")


class Existence(Enum):
    """The answer to a fresh read. UNKNOWN protects what hangs on it."""

    THERE = "there"
    GONE = "gone"
    UNKNOWN = "unknown"


class Cluster(Protocol):
    """Fresh reads of the API server; they never raise."""

    def pod(self, namespace: str, name: str) -> KubernetesPod | Existence:
        """The pod, GONE or UNKNOWN."""

    def node(self, name: str) -> Existence: ...


class KubernetesCluster:
    """Over a real API server."""

    def __init__(self, rest: Rest) -> None:
        self._rest = rest

    def pod(self, namespace: str, name: str) -> KubernetesPod | Existence:
        found = self._get(path_of("v1", "pods", namespace, name))
        if isinstance(found, Existence):
            return found
        try:
            return from_pod(msgspec.json.decode(found, type=core.Pod))
        except msgspec.DecodeError as error:
            log.warning("Failed to parse pod %s/%s, assume it exists: %s", namespace, name, error)
            return Existence.UNKNOWN

    def node(self, name: str) -> Existence:
        found = self._get(path_of("v1", "nodes", "", name))
        return found if isinstance(found, Existence) else Existence.THERE

    def _get(self, path: str) -> bytes | Existence:
        """Only the API server's own words count as GONE: a proxy's 404 page proves nothing."""
        try:
            return self._rest.request("GET", path)
        except StatusError as error:
            if error.code == 404 and error.reason == "NotFound":
                return Existence.GONE
            log.warning("Failed to query %s, assume it exists: %s", path, error)
        except DatastoreError as error:
            log.warning("Failed to query %s, assume it exists: %s", path, error)
        return Existence.UNKNOWN


def parse_address(text: str) -> IPAddress:
    """Addresses are compared as numbers: ``fd00::1`` and ``fd00:0:0::1`` are one. Raises ValueError."""
    found = ipaddress.ip_address(text.split("/", maxsplit=1)[0].strip())
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return mapped or found


def from_pod(pod: core.Pod) -> KubernetesPod:
    """Never raises: what cannot be understood makes the addresses unknown."""
    meta = pod.metadata
    return KubernetesPod(
        metadata=ObjectMeta(
            name=meta.name,
            namespace=meta.namespace,
            uid=meta.uid,
            resource_version=meta.resource_version,
            labels=meta.labels,
        ),
        node=pod.spec.node_name,
        addresses=_addresses(pod),
        host_network=pod.spec.host_network,
        service_account=pod.spec.service_account_name,
    )


def _addresses(pod: core.Pod) -> frozenset[IPAddress] | None:
    status, annotations = pod.status, pod.metadata.annotations
    reported = [item.ip for item in status.pod_ips or [] if item.ip]
    if not status.pod_ip or not reported:
        return None
    if pod_convert.is_finished(pod):
        return frozenset()
    texts = [status.pod_ip, *reported]
    # Whoever claims an address for the pod is believed: kubelet, CNI plugin, or Multus.
    for key in (pod_convert.POD_IP, pod_convert.POD_IPS):
        texts += [part for part in annotations.get(key, "").split(",") if part.strip()]
    try:
        texts += _network_status(annotations.get(_NETWORK_STATUS))
        return frozenset(parse_address(text) for text in texts)
    except ValueError as error:
        log.warning(
            "Failed to parse pod %s/%s, consider its allocations valid: %s",
            pod.metadata.namespace,
            pod.metadata.name,
            error,
        )
        return None


class _Network(msgspec.Struct):
    ips: list[str] | None = []


def _network_status(text: str | None) -> list[str]:
    if not text:
        return []
    try:
        networks = msgspec.json.decode(text, type=list[_Network])
    except msgspec.DecodeError as error:
        raise ValueError(f"annotation {_NETWORK_STATUS}: {error}") from error
    return [ip for network in networks for ip in network.ips or []]


def _from_node(node: core.Node) -> KubernetesNode:
    meta = node.metadata
    return KubernetesNode(
        metadata=ObjectMeta(
            name=meta.name, uid=meta.uid, resource_version=meta.resource_version, labels=meta.labels
        )
    )


PODS = KubernetesKind(
    kind=KubernetesPod,
    api="v1",
    plural="pods",
    core=core.Pod,
    convert=from_pod,
    blank=lambda meta: KubernetesPod(metadata=meta),
)
NODES = KubernetesKind(
    kind=KubernetesNode,
    api="v1",
    plural="nodes",
    core=core.Node,
    convert=_from_node,
    blank=lambda meta: KubernetesNode(metadata=meta),
)
