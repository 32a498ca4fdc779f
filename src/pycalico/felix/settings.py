"""From parameters to what calculation and dataplane take."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from ipaddress import ip_address

from pycalico.calc.messages import Encapsulation
from pycalico.calc.settings import CalcSettings
from pycalico.dataplane.config import DataplaneConfig
from pycalico.datastore.config import ETCD, DatastoreConfig
from pycalico.felix.parameters import Parameters
from pycalico.felix.values import TABLES_RESERVED

#: Fields of the datastore's configuration to parameters.
_ETCD_FILES = {
    "etcd_key_file": "EtcdKeyFile",
    "etcd_cert_file": "EtcdCertFile",
    "etcd_ca_cert_file": "EtcdCaFile",
}


def datastore(config: DatastoreConfig, p: Parameters, file: Mapping[str, str]) -> DatastoreConfig:
    """What the file says is stronger than the clients' variables; there, names count as written.

    Only the file switches: FELIX_ variables change the value of what the file names, as upstream has it.
    """
    if "DatastoreType" in file:
        config.datastore_type = p["DatastoreType"]
    if "EtcdEndpoints" in file and p["EtcdEndpoints"]:
        config.datastore_type, config.etcd_endpoints = ETCD, ",".join(p["EtcdEndpoints"])
    elif "EtcdAddr" in file:
        config.datastore_type, config.etcd_endpoints = ETCD, f"{p['EtcdScheme']}://{p['EtcdAddr']}"
    for field, name in _ETCD_FILES.items():
        if name in file:
            setattr(config, field, p[name])
    return config


def calculation(parameters: Parameters, hostname: str, *, use_pod_cidrs: bool) -> CalcSettings:
    return CalcSettings(
        hostname=hostname,
        ipip_enabled=parameters["IpInIpEnabled"],
        vxlan_enabled=parameters["VXLANEnabled"],
        ipv6=parameters["Ipv6Support"],
        use_pod_cidrs=use_pod_cidrs,
        workload_routes=parameters["RouteSource"] == "WorkloadIPs",
        spoofing_allowed=parameters["WorkloadSourceSpoofing"] == "Any",
        cluster_routes=parameters["ProgramClusterRoutes"] == "Enabled",
        wireguard=parameters["WireguardEnabled"] or parameters["WireguardEnabledV6"],
    )


def dataplane(
    p: Parameters,
    hostname: str,
    encapsulation: Encapsulation,
    *,
    kube_ipvs: bool,
    keys: tuple[str, str] = ("", ""),
) -> DataplaneConfig:
    """The encapsulation is that of the pools at start, as far as parameters do not fix it.

    ``keys``: this node's public keys for WireGuard over IPv4 and IPv6, as the datastore has them.
    """
    metadata = p["MetadataAddr"]
    openstack = (
        "openstack" in p["ClusterType"].lower()
        or metadata not in ("", "127.0.0.1")
        or p["MetadataPort"] not in (0, 8775)
        or "tap" in p["InterfacePrefix"]
    )
    return DataplaneConfig(
        hostname=hostname,
        ipv6=p["Ipv6Support"],
        interface_prefixes=p["InterfacePrefix"],
        interface_exclude=p["InterfaceExclude"],
        mtu_interface_pattern=p["MTUIfacePattern"],
        nftables_mode=p["NFTablesMode"],
        nftables_refresh_s=p["NftablesRefreshInterval"],
        nftables_mark_mask=p["NftablesMarkMask"],
        nftables_filter_allow_action=p["NftablesFilterAllowAction"],
        nftables_mangle_allow_action=p["NftablesMangleAllowAction"],
        nftables_filter_deny_action=p["NftablesFilterDenyAction"],
        iptables_backend=p["IptablesBackend"],
        chain_insert_mode=p["ChainInsertMode"],
        mark_mask=p["IptablesMarkMask"],
        endpoint_to_host_action=p["DefaultEndpointToHostAction"],
        filter_allow_action=p["IptablesFilterAllowAction"],
        mangle_allow_action=p["IptablesMangleAllowAction"],
        filter_deny_action=p["IptablesFilterDenyAction"],
        log_prefix=p["LogPrefix"],
        conntrack_invalid_check=not p["DisableConntrackInvalidCheck"],
        failsafe_inbound=p["FailsafeInboundHostPorts"],
        failsafe_outbound=p["FailsafeOutboundHostPorts"],
        service_loop_prevention=p["ServiceLoopPrevention"],
        source_spoofing_allowed=p["WorkloadSourceSpoofing"] == "Any",
        floating_ips=p["FloatingIPs"] == "Enabled",
        iptables_lock_timeout_s=p["IptablesLockTimeoutSecs"],
        iptables_lock_probe_interval_s=p["IptablesLockProbeIntervalMillis"] / 1000,
        # Where the programs themselves are told to look comes first.
        iptables_lock_file=os.environ.get("XTABLES_LOCKFILE") or p["IptablesLockFilePath"],
        feature_overrides=p["FeatureDetectOverride"],
        nat_port_range=p["NATPortRange"],
        nat_outgoing_address=p["NATOutgoingAddress"],
        nat_outgoing_interface_filter=p["IptablesNATOutgoingInterfaceFilter"],
        kube_ipvs=kube_ipvs,
        kube_node_port_ranges=p["KubeNodePortRanges"],
        openstack=openstack,
        openstack_metadata_ip=metadata if openstack and _is_address(metadata) else "",
        openstack_metadata_port=p["MetadataPort"] or 8775,
        max_ipset_size=p["MaxIpsetSize"],
        route_protocol=p["DeviceRouteProtocol"],
        route_source_ipv4=p["DeviceRouteSourceAddress"],
        route_source_ipv6=p["DeviceRouteSourceAddressIPv6"],
        remove_external_routes=p["RemoveExternalRoutes"],
        route_sync=not p["RouteSyncDisabled"],
        program_cluster_routes=p["ProgramClusterRoutes"] == "Enabled",
        ipip=encapsulation.ipip,
        ipip_tunnel_address=p["IpInIpTunnelAddr"],
        ipip_mtu=p["IpInIpMtu"],
        ipip_clean_up=p["IpInIpEnabled"] is None,
        vxlan=encapsulation.vxlan,
        vxlan_v6=encapsulation.vxlan_v6,
        vxlan_vni=p["VXLANVNI"],
        vxlan_port=p["VXLANPort"],
        vxlan_mtu=p["VXLANMTU"],
        vxlan_mtu_v6=p["VXLANMTUV6"],
        vxlan_tunnel_address=p["IPv4VXLANTunnelAddr"],
        vxlan_tunnel_address_v6=p["IPv6VXLANTunnelAddr"],
        allow_vxlan_from_workloads=p["AllowVXLANPacketsFromWorkloads"],
        allow_ipip_from_workloads=p["AllowIPIPPacketsFromWorkloads"],
        external_node_cidrs=p["ExternalNodesCIDRList"],
        wireguard=p["WireguardEnabled"],
        wireguard_v6=p["WireguardEnabledV6"],
        wireguard_port=p["WireguardListeningPort"],
        wireguard_port_v6=p["WireguardListeningPortV6"],
        wireguard_interface=p["WireguardInterfaceName"],
        wireguard_interface_v6=p["WireguardInterfaceNameV6"],
        wireguard_host_encryption=p["WireguardHostEncryptionEnabled"],
        wireguard_mtu=p["WireguardMTU"],
        wireguard_mtu_v6=p["WireguardMTUV6"],
        wireguard_rule_priority=p["WireguardRoutingRulePriority"],
        wireguard_table=_first_table(p),
        wireguard_keepalive_s=int(p["WireguardPersistentKeepAlive"]),
        wireguard_key=keys[0],
        wireguard_key_v6=keys[1],
        azure="aks" in p["ClusterType"].lower().split(","),
        iptables_refresh_s=p["IptablesRefreshInterval"],
        iptables_post_write_check_s=p["IptablesPostWriteCheckIntervalSecs"],
        ipsets_refresh_s=p["IpsetsRefreshInterval"],
        route_refresh_s=p["RouteRefreshInterval"],
        interface_refresh_s=p["InterfaceRefreshInterval"],
        watchdog_s=p["DataplaneWatchdogTimeout"],
        connection_pruning=p["ConnectionPruning"] == "Enabled",
        connection_pruning_per_s=max(p["ConnectionPruningPerSecond"], 1),
        status_delay_s=p["EndpointReportingDelaySecs"],
        endpoint_status_path=p["EndpointStatusPathPrefix"],
    )


def _is_address(text: str) -> bool:
    with suppress(ValueError):
        return bool(ip_address(text))
    return False


def _first_table(p: Parameters) -> int:
    """WireGuard's table, for IPv6 too: the lowest that Felix may use, 0 where there is none."""
    ranges = p["RouteTableRanges"] or (p["RouteTableRange"] or (1, 250),)
    tables = (table for low, high in ranges for table in range(low, high + 1))
    return min((table for table in tables if table not in TABLES_RESERVED), default=0)
