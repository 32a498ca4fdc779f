"""Each kind of v1 as a resource of v3."""

from __future__ import annotations

import ipaddress
from typing import cast

from pycalico.api import names
from pycalico.api.meta import ObjectMeta, Resource
from pycalico.api.strict import as_number
from pycalico.api.v3.bgppeer import BGPPeer, BGPPeerSpec
from pycalico.api.v3.hostendpoint import EndpointPort, HostEndpoint, HostEndpointSpec
from pycalico.api.v3.ippool import IPPool, IPPoolSpec
from pycalico.api.v3.networkpolicy import GlobalNetworkPolicy, GlobalNetworkPolicySpec
from pycalico.api.v3.node import Node, NodeBGPSpec, NodeSpec, OrchRef
from pycalico.api.v3.profile import Profile, ProfileSpec
from pycalico.api.v3.workloadendpoint import (
    IPNAT,
    WorkloadEndpoint,
    WorkloadEndpointPort,
    WorkloadEndpointSpec,
)
from pycalico.calicoctl.convert import legacy, naming, rules
from pycalico.calicoctl.convert.legacy import Legacy

_BLOCK_SIZE = {4: 26, 6: 122}


class ConversionError(ValueError):
    """The resource has no counterpart; the message says why."""


def converted(found: Legacy) -> Resource:
    """Raises ConversionError."""
    match found:
        case legacy.Peer():
            return _peer(found)
        case legacy.Host():
            return _host(found)
        case legacy.Pool():
            return _pool(found)
        case legacy.LegacyNode():
            return _node(found)
        case legacy.Policy():
            return _policy(found)
        case legacy.LegacyProfile():
            return _profile(found)
        case legacy.Workload():
            return _workload(found)


def _peer(found: legacy.Peer) -> BGPPeer:
    meta = found.metadata
    if not meta.peer_ip:
        raise ConversionError(
            f"no PeerIP is set, invalid BGPPeer: BGPPeer(PeerIP=<nil>, Scope={meta.scope}, Node={meta.node})"
        )
    if meta.scope == "node" and not meta.node:
        raise ConversionError(
            f"With Node scope a Node must be defined: {{{{}} {meta.scope}  {meta.peer_ip}}}"
        )
    if meta.scope not in ("global", "node"):
        raise ConversionError("insufficient identifiers, missing 'scope'")
    ip = str(ipaddress.ip_address(meta.peer_ip))
    node = naming.normalised(meta.node)
    name = naming.address(ip)
    return BGPPeer(
        metadata=ObjectMeta(name=f"{node}.{name}" if node else name),
        spec=BGPPeerSpec(node=node, peer_ip=ip, as_number=as_number(found.spec.as_number)),
    )


def _host(found: legacy.Host) -> HostEndpoint:
    meta, spec = found.metadata, found.spec
    node = naming.normalised(meta.node)
    addresses = [ipaddress.ip_address(each) for each in spec.expected_ips]
    return HostEndpoint(
        metadata=ObjectMeta(name=naming.unique(f"{node}.{meta.name}"), labels=meta.labels),
        spec=HostEndpointSpec(
            node=node,
            interface_name=spec.interface_name,
            expected_ips=[str(each) for version in (4, 6) for each in addresses if each.version == version],
            profiles=[naming.profile(each) for each in spec.profiles],
            ports=[
                EndpointPort(name=each.name, protocol=rules.protocol(each.protocol) or "", port=each.port)
                for each in spec.ports
            ],
        ),
    )


def _pool(found: legacy.Pool) -> IPPool:
    spec = found.spec
    if not found.metadata.cidr:
        raise ConversionError("no CIDR is set, invalid IPPool")
    cidr = rules.network(found.metadata.cidr)
    mode = "Never"
    if spec.ipip is not None and spec.ipip.enabled:
        mode = "CrossSubnet" if spec.ipip.mode.lower() == "cross-subnet" else "Always"
    return IPPool(
        metadata=ObjectMeta(name=names.block(cidr)),
        spec=IPPoolSpec(
            cidr=cidr,
            ipip_mode=mode,
            vxlan_mode="Never",
            nat_outgoing=spec.nat_outgoing,
            disabled=spec.disabled,
            node_selector="all()",
            allowed_uses=["Workload", "Tunnel"],
            block_size=_BLOCK_SIZE[6 if ":" in cidr else 4],
        ),
    )


def _node(found: legacy.LegacyNode) -> Node:
    spec, bgp = found.spec, found.spec.bgp
    return Node(
        metadata=ObjectMeta(name=naming.normalised(found.metadata.name)),
        spec=NodeSpec(
            bgp=None
            if bgp is None
            else NodeBGPSpec(
                as_number=None if bgp.as_number is None else as_number(bgp.as_number),
                ipv4_address=_interface(bgp.ipv4_address),
                ipv6_address=_interface(bgp.ipv6_address),
            ),
            orch_refs=[
                OrchRef(node_name=each.node_name, orchestrator=each.orchestrator) for each in spec.orch_refs
            ],
        ),
    )


def _interface(text: str) -> str:
    return str(ipaddress.ip_interface(text)) if text else ""


def _policy(found: legacy.Policy) -> GlobalNetworkPolicy:
    meta, spec = found.metadata, found.spec
    types = [each.capitalize() for each in spec.types]
    if not types:
        types = (["Ingress"] if spec.ingress or not spec.egress else []) + (["Egress"] if spec.egress else [])
    return GlobalNetworkPolicy(
        metadata=ObjectMeta(name=naming.without_dots(meta.name), annotations=meta.annotations),
        spec=GlobalNetworkPolicySpec(
            order=spec.order,
            ingress=rules.converted(spec.ingress),
            egress=rules.converted(spec.egress),
            selector=rules.selector(spec.selector),
            do_not_track=spec.do_not_track,
            pre_dnat=spec.pre_dnat,
            # Both kinds apply to forwarded traffic by nature.
            apply_on_forward=spec.do_not_track or spec.pre_dnat,
            types=types,
        ),
    )


def _profile(found: legacy.LegacyProfile) -> Profile:
    meta, spec = found.metadata, found.spec
    name = naming.profile(meta.name)
    labels = dict(meta.labels)
    for tag in meta.tags:
        if tag in labels:
            raise ConversionError(
                f"Tag: '{tag}' and Label '{tag} == {labels[tag]}' have the same value for Profile: {name}. "
                "Change the Label key before proceeding"
            )
        labels[tag] = ""
    return Profile(
        metadata=ObjectMeta(name=name),
        spec=ProfileSpec(
            labels_to_apply=labels,
            ingress=rules.converted(spec.ingress),
            egress=rules.converted(spec.egress),
        ),
    )


def _workload(found: legacy.Workload) -> WorkloadEndpoint:
    meta, spec = found.metadata, found.spec
    labels = dict(meta.labels)
    if "calico/k8s_ns" in labels:
        labels["projectcalico.org/namespace"] = labels.pop("calico/k8s_ns")
    namespace, pod, container, workload = _place(meta)
    new = WorkloadEndpointSpec(
        orchestrator=naming.unique(meta.orchestrator),
        workload=workload,
        node=naming.normalised(meta.node),
        pod=pod,
        container_id=container,
        endpoint=naming.unique(meta.name),
        ip_networks=_by_family([rules.network(each) for each in spec.ip_networks]),
        ip_nats=[
            IPNAT(
                internal_ip=str(ipaddress.ip_address(each.internal_ip)),
                external_ip=str(ipaddress.ip_address(each.external_ip)),
            )
            for each in sorted(spec.ip_nats, key=lambda each: ":" in each.internal_ip)
        ],
        profiles=[naming.profile(each) for each in spec.profiles],
        interface_name=spec.interface_name,
        mac=spec.mac.lower(),
        ipv4_gateway=spec.ipv4_gateway,
        ipv6_gateway=spec.ipv6_gateway,
        ports=[
            WorkloadEndpointPort(
                name=each.name, protocol=cast("str", rules.protocol(each.protocol)), port=each.port
            )
            for each in spec.ports
        ],
        allow_spoofed_source_prefixes=[rules.network(each) for each in spec.allow_spoofed_source_prefixes],
    )
    identity = pod or (container if meta.orchestrator == "cni" else workload)
    name = names.workload_endpoint(new.node, new.orchestrator, identity, new.endpoint)
    return WorkloadEndpoint(metadata=ObjectMeta(name=name, namespace=namespace, labels=labels), spec=new)


def _by_family(networks: list[str]) -> list[str]:
    """IPv4 first."""
    return sorted(networks, key=lambda each: ":" in each)


def _place(meta: legacy.WorkloadMetadata) -> tuple[str, str, str, str]:
    """Namespace, pod, container and workload, which depend on the orchestrator."""
    if meta.orchestrator == "k8s":
        namespace, dot, pod = meta.workload.partition(".")
        if not dot:
            raise ConversionError(
                f"malformed k8s workload ID '{meta.workload}': workload was not added through the Calico CNI "
                "plugin and cannot be converted"
            )
        return namespace, pod, meta.active_instance_id, ""
    if meta.orchestrator == "cni":
        return "default", "", meta.workload, ""
    if meta.orchestrator == "libnetwork":
        return "default", "", "", "libnetwork"
    return "default", "", "", naming.unique(meta.workload)
