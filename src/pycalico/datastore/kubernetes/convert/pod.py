"""A pod as a WorkloadEndpoint, and a WorkloadEndpoint as annotations of its pod."""

from __future__ import annotations

import msgspec

from pycalico.api import names
from pycalico.api.meta import ObjectMeta
from pycalico.api.v3.workloadendpoint import (
    IPNAT,
    WorkloadEndpoint,
    WorkloadEndpointPort,
    WorkloadEndpointSpec,
)
from pycalico.datastore.kubernetes.convert import addresses
from pycalico.datastore.kubernetes.core import Pod

POD_IP = "cni.projectcalico.org/podIP"
POD_IPS = "cni.projectcalico.org/podIPs"
CONTAINER_ID = "cni.projectcalico.org/containerID"
FLOATING_IPS = "cni.projectcalico.org/floatingIPs"
ALLOWED_SOURCE_PREFIXES = "cni.projectcalico.org/allowedSourcePrefixes"
_AWS_POD_IPS = "vpc.amazonaws.com/pod-ips"
_NETWORK_STATUS = "k8s.v1.cni.cncf.io/network-status"

_PROTOCOLS = {"": "TCP", "TCP": "TCP", "UDP": "UDP", "SCTP": "SCTP"}
_FINISHED = ("Failed", "Succeeded", "Completed")
#: Longer names do not fit into a label's value.
_SERVICE_ACCOUNT_LABEL_MOST = 63


def has_endpoint(pod: Pod) -> bool:
    """A pod is an endpoint once it is scheduled, unless it shares its host's network."""
    return bool(pod.spec.node_name) and not pod.spec.host_network


def to_workload_endpoint(pod: Pod, interface_prefix: str = "cali") -> WorkloadEndpoint:
    """Raises ValueError when an address or annotation is malformed."""
    meta, namespace = pod.metadata, pod.metadata.namespace
    account = pod.spec.service_account_name
    labels = {
        **meta.labels,
        "projectcalico.org/namespace": namespace,
        "projectcalico.org/orchestrator": "k8s",
    }
    if account and len(account) < _SERVICE_ACCOUNT_LABEL_MOST:
        labels["projectcalico.org/serviceaccount"] = account
    networks = [] if is_finished(pod) else _networks(pod)
    annotations = {}
    if _NETWORK_STATUS in meta.annotations:
        annotations[_NETWORK_STATUS] = meta.annotations[_NETWORK_STATUS]
    return WorkloadEndpoint(
        metadata=ObjectMeta(
            name=names.workload_endpoint(pod.spec.node_name, "k8s", meta.name, "eth0"),
            namespace=namespace,
            uid=meta.uid,
            resource_version=meta.resource_version,
            creation_timestamp=meta.creation_timestamp,
            generate_name=meta.generate_name,
            labels=labels,
            annotations=annotations,
        ),
        spec=WorkloadEndpointSpec(
            orchestrator="k8s",
            node=pod.spec.node_name,
            pod=meta.name,
            container_id=meta.annotations.get(CONTAINER_ID, ""),
            endpoint="eth0",
            interface_name=names.interface(namespace, meta.name, interface_prefix),
            profiles=[names.namespace_profile(namespace)]
            + ([names.service_account_profile(namespace, account)] if account else []),
            ip_networks=networks,
            ip_nats=_floating(pod, networks),
            ports=_ports(pod),
            service_account_name=account,
            allow_spoofed_source_prefixes=_spoofed_prefixes(meta.annotations),
        ),
    )


def is_finished(pod: Pod) -> bool:
    """Whether the pod no longer owns its addresses: ended, or being deleted with its address given back."""
    if pod.status.phase in _FINISHED:
        return True
    if not pod.metadata.deletion_timestamp:
        return False
    annotations = pod.metadata.annotations
    return annotations.get(POD_IP) == "" or annotations.get(_AWS_POD_IPS) == ""


def annotations_of(endpoint: WorkloadEndpoint) -> dict[str, str]:
    """What the CNI plugin writes onto the pod, to be seen before the kubelet reports status.podIP."""
    networks = endpoint.spec.ip_networks
    if not networks:
        return {}
    annotations = {POD_IP: networks[0], POD_IPS: ",".join(networks)}
    if endpoint.spec.container_id:
        annotations[CONTAINER_ID] = endpoint.spec.container_id
    return annotations


def _networks(pod: Pod) -> list[str]:
    annotations = pod.metadata.annotations
    found = [item.ip for item in pod.status.pod_ips or [] if item.ip]
    if not found and pod.status.pod_ip:
        found = [pod.status.pod_ip]
    for key in (POD_IPS, POD_IP, _AWS_POD_IPS):
        if not found and annotations.get(key):
            found = [part.strip() for part in annotations[key].split(",") if part.strip()]
    return [addresses.whole(text) for text in found]


def _floating(pod: Pod, networks: list[str]) -> list[IPNAT]:
    text = pod.metadata.annotations.get(FLOATING_IPS)
    if text is None or not networks:
        return []
    own = {":" in network: network.split("/")[0] for network in networks}
    return [
        IPNAT(internal_ip=own[":" in external], external_ip=external)
        for external in _json_list(text)
        if (":" in external) in own
    ]


def _spoofed_prefixes(annotations: dict[str, str]) -> list[str]:
    text = annotations.get(ALLOWED_SOURCE_PREFIXES)
    return [_cidr(item) for item in _json_list(text)] if text else []


def _cidr(text: str) -> str:
    try:
        return addresses.network(text if "/" in text else "")
    except ValueError:
        raise ValueError(f"failed to parse '{text}' as a CIDR: invalid CIDR address: {text}") from None


def _json_list(text: str) -> list[str]:
    try:
        return msgspec.json.decode(text, type=list[str] | None) or []
    except msgspec.DecodeError as error:
        raise ValueError(f"failed to parse '{text}' as JSON: {error}") from error


def _ports(pod: Pod) -> list[WorkloadEndpointPort]:
    return [
        WorkloadEndpointPort(
            name=port.name,
            protocol=_PROTOCOLS[port.protocol],
            port=port.container_port,
            host_port=port.host_port,
            host_ip=port.host_ip,
        )
        for container in pod.spec.containers or []
        for port in container.ports or []
        if port.container_port and (port.host_port or port.name) and port.protocol in _PROTOCOLS
    ]
