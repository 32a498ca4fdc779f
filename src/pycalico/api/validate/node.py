"""Nodes, the status they report, and the controllers' configuration."""

from __future__ import annotations

from pycalico.api.v3.caliconodestatus import CalicoNodeStatus
from pycalico.api.v3.kubecontrollersconfiguration import KubeControllersConfiguration
from pycalico.api.v3.node import Node, NodeBGPSpec
from pycalico.api.validate import values
from pycalico.api.validate.faults import Faults

_SWITCH = values.one_of("Enabled", "Disabled")
_PERIOD_S = 86400


def node(faults: Faults, found: Node) -> None:
    spec = found.spec
    if spec.bgp is not None:
        bgp = spec.bgp
        faults.field("IPv4Address", bgp.ipv4_address, "cidrv4", values.is_cidr_v4)
        faults.field("IPv6Address", bgp.ipv6_address, "cidrv6", values.is_cidr_v6)
        faults.field("IPv4IPIPTunnelAddr", bgp.ipv4_ipip_tunnel_addr, "ipv4", values.is_ipv4)
        faults.field("RouteReflectorClusterID", bgp.route_reflector_cluster_id, "ipv4", values.is_ipv4)
    faults.field("IPv4VXLANTunnelAddr", spec.ipv4_vxlan_tunnel_addr, "ipv4", values.is_ipv4)
    faults.field("VXLANTunnelMACAddr", spec.vxlan_tunnel_mac_addr, "mac", values.is_mac)
    faults.field("IPv6VXLANTunnelAddr", spec.ipv6_vxlan_tunnel_addr, "ipv6", values.is_ipv6)
    faults.field("VXLANTunnelMACAddrV6", spec.vxlan_tunnel_mac_addr_v6, "mac", values.is_mac)
    if spec.wireguard is not None:
        faults.field("InterfaceIPv4Address", spec.wireguard.interface_ipv4_address, "ipv4", values.is_ipv4)
        faults.field("InterfaceIPv6Address", spec.wireguard.interface_ipv6_address, "ipv6", values.is_ipv6)
    if spec.bgp == NodeBGPSpec():
        faults.add("BGP", spec.bgp, "Spec.BGP should not be empty")
    status = found.status
    for name, key in (
        ("WireguardPublicKey", status.wireguard_public_key),
        ("WireguardPublicKeyV6", status.wireguard_public_key_v6),
    ):
        faults.field(name, key, "wireguardPublicKey", values.is_wireguard_key)


def status(faults: Faults, found: CalicoNodeStatus) -> None:
    spec = found.spec
    if not spec.node:
        faults.tag("Node", spec.node, "required")
    else:
        faults.field("Node", spec.node, "name", values.is_name)
    if not spec.classes:
        faults.tag("Classes", spec.classes, "required")
    elif len(set(spec.classes)) != len(spec.classes):
        faults.tag("Classes", spec.classes, "unique")
    if spec.update_period_seconds is None:
        faults.tag("UpdatePeriodSeconds", spec.update_period_seconds, "required")
    elif spec.update_period_seconds > _PERIOD_S:
        faults.tag("UpdatePeriodSeconds", spec.update_period_seconds, "lte")


def controllers(faults: Faults, found: KubeControllersConfiguration) -> None:
    spec = found.spec
    faults.field("LogSeverityScreen", spec.log_severity_screen, "logLevel", values.is_log_level)
    faults.field("HealthChecks", spec.health_checks, "oneof", _SWITCH)
    if spec.controllers.node is not None:
        faults.field("SyncLabels", spec.controllers.node.sync_labels, "oneof", _SWITCH)
        if spec.controllers.node.host_endpoint is not None:
            faults.field("AutoCreate", spec.controllers.node.host_endpoint.auto_create, "oneof", _SWITCH)
