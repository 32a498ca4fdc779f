"""A Kubernetes node as a Calico Node, and back as annotations.

Calico's own facts lie in annotations ``projectcalico.org/...``; its labels and annotations as JSON in two of them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

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
from pycalico.datastore.kubernetes.convert.addresses import address, interface

PREFIX = "projectcalico.org/"
KUBE_LABELS = PREFIX + "kube-labels"

_NO_BGP, _NO_WIREGUARD = NodeBGPSpec(), NodeWireguardSpec()
_encode = msgspec.json.Encoder(order="sorted").encode


def _as_number(text: str) -> int:
    if "." in text:
        high, low = (int(part) for part in text.split("."))
        number = (high << 16) + low
    else:
        number = int(text)
    if not 0 <= number < 2**32:
        raise ValueError(f"{text} is not an AS number")
    return number


#: What can be wrong in an annotation of ours; others are taken as they are.
_PARSERS: dict[str, Callable[[str], int | str]] = {
    "ASNumber": _as_number,
    "IPv4Address": interface,
    "IPv6Address": interface,
    "IPv4IPIPTunnelAddr": address,
    "IPv4WireguardInterfaceAddr": address,
    "IPv6WireguardInterfaceAddr": address,
    "IPv4VXLANTunnelAddr": address,
    "IPv6VXLANTunnelAddr": address,
}


def _warn(text: str, *arguments: object) -> None:
    import logging  # noqa: PLC0415 - 4 ms, and most have nothing to say

    logging.getLogger(__name__).warning(text, *arguments)


def _facts(meta: ObjectMeta) -> dict[str, Any]:
    """Calico's annotations by their names without the prefix; an invalid one is left out with a warning."""
    found: dict[str, Any] = {}
    for key, text in meta.annotations.items():
        if text and key.startswith(PREFIX):
            name = key[len(PREFIX) :]
            parse = _PARSERS.get(name)
            try:
                found[name] = parse(text) if parse else text
            except ValueError as error:
                _warn("node %s: ignoring annotation %s: %s", meta.name, key, error)
    return found


def from_kubernetes(node: core.Node) -> Node:
    """Invalid annotation values are ignored with a warning; the node stays."""
    meta = node.metadata
    facts = _facts(meta)

    def text_of(name: str) -> str:
        return cast("str", facts.get(name, ""))

    bgp = NodeBGPSpec(
        as_number=facts.get("ASNumber"),
        ipv4_address=text_of("IPv4Address"),
        ipv6_address=text_of("IPv6Address"),
        ipv4_ipip_tunnel_addr=text_of("IPv4IPIPTunnelAddr"),
        route_reflector_cluster_id=text_of("RouteReflectorClusterID"),
    )
    wireguard = NodeWireguardSpec(
        interface_ipv4_address=text_of("IPv4WireguardInterfaceAddr"),
        interface_ipv6_address=text_of("IPv6WireguardInterfaceAddr"),
    )
    labels = {**_json_map(facts.get("labels"), meta.name), **meta.labels}
    own_annotations = _json_map(facts.get("annotations"), meta.name)
    own_annotations[KUBE_LABELS] = _encode(meta.labels or None).decode()
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
            bgp=bgp if bgp != _NO_BGP else None,
            ipv4_vxlan_tunnel_addr=text_of("IPv4VXLANTunnelAddr"),
            vxlan_tunnel_mac_addr=text_of("VXLANTunnelMACAddr"),
            ipv6_vxlan_tunnel_addr=text_of("IPv6VXLANTunnelAddr"),
            vxlan_tunnel_mac_addr_v6=text_of("VXLANTunnelMACAddrV6"),
            orch_refs=[OrchRef(node_name=meta.name, orchestrator="k8s")],
            wireguard=wireguard if wireguard != _NO_WIREGUARD else None,
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
        "labels": _encode(labels).decode() if labels else "",
        "annotations": _encode(own_annotations).decode() if own_annotations else "",
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
        _warn("node %s: ignoring an annotation that is not a JSON map of strings: %s", node, error)
        return {}
