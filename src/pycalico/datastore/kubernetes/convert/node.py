"""A Kubernetes node as a Calico Node, and back as annotations.

Calico's own facts lie in annotations ``projectcalico.org/...``; its labels and annotations as JSON in two of them.
"""

from __future__ import annotations

import ipaddress
import logging
from collections.abc import Callable

import msgspec

from pycalico.api.meta import ObjectMeta
from pycalico.api.v3.node import (
    Node,
    NodeAddress,
    NodeBGPSpec,
    NodeSpec,
    NodeStatus,
    NodeWireguardSpec,
    OrchRef,
)
from pycalico.datastore.kubernetes import core

PREFIX = "projectcalico.org/"
_LABELS = PREFIX + "labels"
_ANNOTATIONS = PREFIX + "annotations"
KUBE_LABELS = PREFIX + "kube-labels"

log = logging.getLogger(__name__)


def _interface(text: str) -> str:
    ipaddress.ip_interface(text)
    return text


def _address(text: str) -> str:
    return str(ipaddress.ip_address(text))


def _as_number(text: str) -> int:
    if "." in text:
        high, low = (int(part) for part in text.split("."))
        number = (high << 16) + low
    else:
        number = int(text)
    if not 0 <= number < 2**32:
        raise ValueError(f"{text} is not an AS number")
    return number


def from_kubernetes(node: core.Node) -> Node:
    """Invalid annotation values are ignored with a warning; the node stays."""
    meta = node.metadata
    annotations = meta.annotations

    def read(name: str, parse: Callable[[str], object]) -> object:
        text = annotations.get(PREFIX + name, "")
        if not text:
            return None
        try:
            return parse(text)
        except ValueError as error:
            log.warning("node %s: ignoring annotation %s%s: %s", meta.name, PREFIX, name, error)
            return None

    def text_of(name: str, parse: Callable[[str], str] = str) -> str:
        return str(read(name, parse) or "")

    number = read("ASNumber", _as_number)
    bgp = NodeBGPSpec(
        as_number=number if isinstance(number, int) else None,
        ipv4_address=text_of("IPv4Address", _interface),
        ipv6_address=text_of("IPv6Address", _interface),
        ipv4_ipip_tunnel_addr=text_of("IPv4IPIPTunnelAddr", _address),
        route_reflector_cluster_id=text_of("RouteReflectorClusterID"),
    )
    wireguard = NodeWireguardSpec(
        interface_ipv4_address=text_of("IPv4WireguardInterfaceAddr", _address),
        interface_ipv6_address=text_of("IPv6WireguardInterfaceAddr", _address),
    )
    labels = {**_json_map(annotations.get(_LABELS), meta.name), **meta.labels}
    own_annotations = _json_map(annotations.get(_ANNOTATIONS), meta.name)
    own_annotations[KUBE_LABELS] = msgspec.json.encode(meta.labels or None, order="sorted").decode()
    return Node(
        metadata=ObjectMeta(
            name=meta.name,
            uid=meta.uid,
            resource_version=meta.resource_version,
            creation_timestamp=meta.creation_timestamp,
            labels=labels,
            annotations=own_annotations,
        ),
        spec=NodeSpec(
            bgp=bgp if bgp != NodeBGPSpec() else None,
            ipv4_vxlan_tunnel_addr=text_of("IPv4VXLANTunnelAddr", _address),
            vxlan_tunnel_mac_addr=text_of("VXLANTunnelMACAddr"),
            ipv6_vxlan_tunnel_addr=text_of("IPv6VXLANTunnelAddr", _address),
            vxlan_tunnel_mac_addr_v6=text_of("VXLANTunnelMACAddrV6"),
            orch_refs=[OrchRef(node_name=meta.name, orchestrator="k8s")],
            wireguard=wireguard if wireguard != NodeWireguardSpec() else None,
            addresses=_addresses(bgp, node.status.addresses or []),
        ),
        status=NodeStatus(
            wireguard_public_key=text_of("WireguardPublicKey"),
            wireguard_public_key_v6=text_of("WireguardPublicKeyV6"),
            pod_cidrs=node.spec.pod_cidrs or ([node.spec.pod_cidr] if node.spec.pod_cidr else []),
        ),
    )


def annotations_of(node: Node) -> dict[str, str | None]:
    """The annotations to set (or, None, to remove) so that ``from_kubernetes`` gives ``node`` back."""
    spec, bgp = node.spec, node.spec.bgp or NodeBGPSpec()
    wireguard = spec.wireguard or NodeWireguardSpec()
    kube_labels = _json_map(node.metadata.annotations.get(KUBE_LABELS), node.metadata.name)
    labels = {k: v for k, v in node.metadata.labels.items() if kube_labels.get(k) != v}
    own_annotations = {k: v for k, v in node.metadata.annotations.items() if k != KUBE_LABELS}
    values = {
        "IPv4Address": bgp.ipv4_address,
        "IPv6Address": bgp.ipv6_address,
        "ASNumber": "" if bgp.as_number is None else str(bgp.as_number),
        "RouteReflectorClusterID": bgp.route_reflector_cluster_id,
        "IPv4IPIPTunnelAddr": bgp.ipv4_ipip_tunnel_addr,
        "IPv4VXLANTunnelAddr": spec.ipv4_vxlan_tunnel_addr,
        "VXLANTunnelMACAddr": spec.vxlan_tunnel_mac_addr,
        "IPv6VXLANTunnelAddr": spec.ipv6_vxlan_tunnel_addr,
        "VXLANTunnelMACAddrV6": spec.vxlan_tunnel_mac_addr_v6,
        "IPv4WireguardInterfaceAddr": wireguard.interface_ipv4_address,
        "IPv6WireguardInterfaceAddr": wireguard.interface_ipv6_address,
        "WireguardPublicKey": node.status.wireguard_public_key,
        "WireguardPublicKeyV6": node.status.wireguard_public_key_v6,
        "labels": msgspec.json.encode(labels, order="sorted").decode() if labels else "",
        "annotations": msgspec.json.encode(own_annotations, order="sorted").decode()
        if own_annotations
        else "",
    }
    return {PREFIX + name: value or None for name, value in values.items()}


def _addresses(bgp: NodeBGPSpec, listed: list[core.Address]) -> list[NodeAddress]:
    own = [
        NodeAddress(address=text, type="CalicoNodeIP")
        for text in (bgp.ipv4_address, bgp.ipv6_address)
        if text
    ]
    return own + [
        NodeAddress(address=item.address, type=item.type)
        for item in listed
        if item.type in ("InternalIP", "ExternalIP")
    ]


def _json_map(text: str | None, node: str) -> dict[str, str]:
    if not text:
        return {}
    try:
        return msgspec.json.decode(text, type=dict[str, str] | None) or {}
    except msgspec.DecodeError as error:
        log.warning("node %s: ignoring an annotation that is not a JSON map of strings: %s", node, error)
        return {}
