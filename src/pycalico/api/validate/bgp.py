"""BGP configuration, peers and filters."""

from __future__ import annotations

import re
from collections.abc import Callable

from pycalico.api.v3.bgpconfiguration import BGPConfiguration, BGPConfigurationSpec
from pycalico.api.v3.bgpfilter import BGPFilter
from pycalico.api.v3.bgppeer import BGPPeer
from pycalico.api.validate import values
from pycalico.api.validate.faults import Faults

_STANDARD = re.compile(r"\d+:\d+")
_LARGE = re.compile(r"\d+:\d+:\d+")


def configuration(faults: Faults, found: BGPConfiguration) -> None:
    spec = found.spec
    faults.field("LogSeverityScreen", spec.log_severity_screen, "logLevel", values.is_log_level)
    for block in (*spec.service_load_balancer_ips, *spec.service_external_ips, *spec.service_cluster_ips):
        faults.field("CIDR", block.cidr, "net", values.is_net)
    for community in spec.communities:
        _required(faults, "Name", community.name, "name", values.is_name)
        if not community.value:
            faults.tag("Value", community.value, "required")
    for advertisement in spec.prefix_advertisements:
        _required(faults, "CIDR", advertisement.cidr, "net", values.is_net)
        if not advertisement.communities:
            faults.tag("Communities", advertisement.communities, "required")
    faults.each("IgnoredInterfaces", spec.ignored_interfaces, "ignoredInterface", values.is_ignored_interface)
    _communities(faults, spec)
    if spec.node_to_node_mesh_enabled is False:
        for name, value in (
            ("NodeMeshPassword", spec.node_mesh_password),
            ("NodeMeshMaxRestartTime", spec.node_mesh_max_restart_time),
        ):
            if value is not None:
                reason = f"spec.{name} cannot be set if spec.NodeToNodeMesh is disabled"
                # The value is left out: a password's reference says nothing, and upstream prints addresses.
                faults.bare(f"Spec.{name}", reason)


def default_only(found: BGPConfiguration) -> None:
    """What only the configuration named ``default`` may set. Raises ValidationError."""
    spec = found.spec
    if found.metadata.name == "default":
        return
    faults = Faults()
    for name, value, shown in (
        ("NodeToNodeMeshEnabled", spec.node_to_node_mesh_enabled, "nodeToNodeMeshEnabled"),
        ("ASNumber", spec.as_number, "ASNumber"),
        ("ServiceLoadBalancerIPs", spec.service_load_balancer_ips or None, "ServiceLoadBalancerIPs"),
        ("ServiceExternalIPs", spec.service_external_ips or None, "ServiceExternalIPs"),
        ("ServiceClusterIPs", spec.service_cluster_ips or None, "ServiceClusterIPs"),
        ("NodeMeshPassword", spec.node_mesh_password, "nodeMeshPassword"),
        ("NodeMeshMaxRestartTime", spec.node_mesh_max_restart_time, "nodeMeshMaxRestartTime"),
    ):
        if value is not None:
            faults.bare(
                f"BGPConfiguration.Spec.{name}", f"Cannot set {shown} on a non default BGP Configuration."
            )
    faults.raise_any()


def peer(faults: Faults, found: BGPPeer) -> None:
    spec = found.spec
    faults.field("Node", spec.node, "name", values.is_name)
    faults.field("NodeSelector", spec.node_selector, "selector", values.is_selector)
    faults.field("PeerIP", spec.peer_ip, "IP:port", values.is_peer)
    faults.field("PeerSelector", spec.peer_selector, "selector", values.is_selector)
    faults.field("SourceAddress", spec.source_address, "sourceAddress", values.one_of("UseNodeIP", "None"))
    faults.field("ReachableBy", spec.reachable_by, "reachableBy", values.is_ip)
    faults.each("Filters", spec.filters, "name", values.is_name)
    if spec.node and spec.node_selector:
        faults.add("Node", spec.node, "Node field must be empty when NodeSelector is specified")
    if spec.peer_ip and spec.peer_selector:
        faults.add("PeerIP", spec.peer_ip, "PeerIP field must be empty when PeerSelector is specified")
    if spec.as_number and spec.peer_selector:
        faults.add("ASNumber", spec.as_number, "ASNumber field must be empty when PeerSelector is specified")
    reason = _reachable(spec.reachable_by, spec.peer_ip)
    if reason:
        faults.add("ReachableBy", spec.reachable_by, reason)


def _reachable(gateway: str, peer_ip: str) -> str:
    if not gateway:
        return ""
    if not peer_ip:
        return "ReachablyBy field must be empty when PeerIP is empty"
    address = values.address(gateway)
    if address is None:
        return "ReachableBy is invalid address"
    other = values.peer_address(peer_ip)
    if other is None:
        return "PeerIP is invalid address"
    return "" if address.version == other.version else "ReachableBy and PeerIP address family mismatched"


def bgp_filter(faults: Faults, found: BGPFilter) -> None:
    spec = found.spec
    for rules, version in (
        (spec.export_v4, 4),
        (spec.import_v4, 4),
        (spec.export_v6, 6),
        (spec.import_v6, 6),
    ):
        fits = values.is_net_v4 if version == 4 else values.is_net_v6
        for rule in rules:
            faults.field("CIDR", rule.cidr, f"netv{version}", fits)
            faults.field("Source", rule.source, "oneof", values.one_of("RemotePeers"))
            faults.field("Interface", rule.interface, "bgpFilterInterface", values.is_filter_interface)
            faults.field(
                "MatchOperator",
                rule.match_operator,
                "matchOperator",
                values.one_of("Equal", "In", "NotEqual", "NotIn"),
            )
            _required(faults, "Action", rule.action, "filterAction", values.one_of("Accept", "Reject"))
            if rule.cidr and not rule.match_operator:
                faults.add("CIDR", rule.cidr, "MatchOperator cannot be empty when CIDR is not")
            if rule.match_operator and not rule.cidr:
                faults.add(
                    "MatchOperator", rule.match_operator, "CIDR cannot be empty when MatchOperator is not"
                )


def _required(faults: Faults, field: str, value: str, tag: str, holds: Callable[[str], bool]) -> None:
    if not value:
        faults.tag(field, value, "required")
    elif not holds(value):
        faults.tag(field, value, tag)


def _communities(faults: Faults, spec: BGPConfigurationSpec) -> None:
    for community in spec.communities:
        if not _community(faults, community.value, "Spec.Communities[].Value"):
            faults.add("Spec.Communities[].Value", community.value, "invalid community value or format used.")
    if spec.communities and not spec.prefix_advertisements:
        faults.add(
            "Spec.Communities[]",
            spec.communities,
            "communities are defined but not used in Spec.PrefixAdvertisement[].",
        )
    defined = {community.name for community in spec.communities}
    field = "Spec.PrefixAdvertisement[].Communities[]"
    for advertisement in spec.prefix_advertisements:
        if not values.is_cidr(advertisement.cidr):
            faults.add("Spec.PrefixAdvertisement[].CIDR", advertisement.cidr, "invalid CIDR value.")
        for value in advertisement.communities:
            if not _community(faults, value, field) and value not in defined:
                faults.add(field, value, "community used is invalid or not defined.")


def _community(faults: Faults, text: str, field: str) -> bool:
    """Whether it has the form ``a:b`` (16 bits each) or ``a:b:c`` (32); numbers too large are faults."""
    if _STANDARD.fullmatch(text):
        bits = 16
    elif _LARGE.fullmatch(text):
        bits = 32
    else:
        return False
    for part in text.split(":"):
        if int(part) >= 2**bits:
            faults.add(field, text, f"invalid community value, expected {bits} bit value")
    return True
