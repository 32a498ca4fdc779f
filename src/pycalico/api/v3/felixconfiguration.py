from __future__ import annotations

import msgspec

from pycalico.api.meta import Resource, kind_field
from pycalico.api.rule import Port
from pycalico.api.wire import Struct


class ProtoPort(Struct):
    protocol: str = msgspec.field(default_factory=str)
    port: int = msgspec.field(default_factory=int)
    net: str = msgspec.field(default_factory=str)


class HealthTimeoutOverride(Struct):
    name: str = msgspec.field(default_factory=str)
    timeout: str = msgspec.field(default_factory=lambda: "0s")


class RouteTableRange(Struct):
    """Kernel routing tables ``min`` to ``max``, both included."""

    min: int = msgspec.field(default_factory=int)
    max: int = msgspec.field(default_factory=int)


class FelixConfigurationSpec(Struct):
    """Each field sets the Felix parameter of the same name; durations are Go strings (``90s``).

    ``program_cluster_routes`` (Enabled, Disabled) and ``nftables_*`` are named as in later Calico releases; a cluster
    with v3.28.1's definitions does not keep them, and is told by annotations ``config.projectcalico.org/<Parameter>``.
    """

    use_internal_dataplane_driver: bool | None = None
    dataplane_driver: str = ""
    dataplane_watchdog_timeout: str | None = None
    ipv6_support: bool | None = None
    route_refresh_interval: str | None = None
    interface_refresh_interval: str | None = None
    iptables_refresh_interval: str | None = None
    iptables_post_write_check_interval: str | None = None
    iptables_lock_file_path: str = ""
    iptables_lock_timeout: str | None = None
    iptables_lock_probe_interval: str | None = None
    feature_detect_override: str = ""
    feature_gates: str = ""
    ipsets_refresh_interval: str | None = None
    max_ipset_size: int | None = None
    iptables_backend: str | None = None
    xdp_refresh_interval: str | None = None
    netlink_timeout: str | None = None
    metadata_addr: str = ""
    metadata_port: int | None = None
    openstack_region: str = ""
    interface_prefix: str = ""
    interface_exclude: str = ""
    chain_insert_mode: str = ""
    default_endpoint_to_host_action: str = ""
    iptables_filter_allow_action: str = ""
    iptables_mangle_allow_action: str = ""
    iptables_filter_deny_action: str = ""
    log_prefix: str = ""
    log_file_path: str = ""
    log_severity_file: str = ""
    log_severity_screen: str = ""
    log_severity_sys: str = ""
    log_debug_filename_regex: str = ""
    ipip_enabled: bool | None = None
    ipip_mtu: int | None = None
    vxlan_enabled: bool | None = None
    vxlan_mtu: int | None = None
    vxlan_mtuv6: int | None = None
    vxlan_port: int | None = None
    vxlan_vni: int | None = None
    allow_vxlan_packets_from_workloads: bool | None = None
    allow_ipip_packets_from_workloads: bool | None = None
    reporting_interval: str | None = None
    reporting_ttl: str | None = None
    endpoint_reporting_enabled: bool | None = None
    endpoint_reporting_delay: str | None = None
    endpoint_status_path_prefix: str = ""
    iptables_mark_mask: int | None = None
    disable_conntrack_invalid_check: bool | None = None
    health_enabled: bool | None = None
    health_host: str | None = None
    health_port: int | None = None
    health_timeout_overrides: list[HealthTimeoutOverride] = []
    prometheus_metrics_enabled: bool | None = None
    prometheus_metrics_host: str = ""
    prometheus_metrics_port: int | None = None
    prometheus_go_metrics_enabled: bool | None = None
    prometheus_process_metrics_enabled: bool | None = None
    prometheus_wire_guard_metrics_enabled: bool | None = None
    failsafe_inbound_host_ports: list[ProtoPort] | None = None
    failsafe_outbound_host_ports: list[ProtoPort] | None = None
    kube_node_port_ranges: list[Port] | None = None
    policy_sync_path_prefix: str = ""
    usage_reporting_enabled: bool | None = None
    usage_reporting_initial_delay: str | None = None
    usage_reporting_interval: str | None = None
    nat_port_range: Port | None = None
    nat_outgoing_address: str = ""
    device_route_source_address: str = ""
    device_route_source_address_i_pv6: str = ""
    device_route_protocol: int | None = None
    remove_external_routes: bool | None = None
    external_nodes_list: list[str] | None = None
    debug_memory_profile_path: str = ""
    debug_disable_log_dropping: bool | None = None
    debug_simulate_calc_graph_hang_after: str | None = None
    debug_simulate_dataplane_hang_after: str | None = None
    debug_simulate_dataplane_apply_delay: str | None = None
    debug_host: str | None = None
    debug_port: int | None = None
    iptables_nat_outgoing_interface_filter: str = ""
    sidecar_acceleration_enabled: bool | None = None
    xdp_enabled: bool | None = None
    generic_xdp_enabled: bool | None = None
    bpf_enabled: bool | None = None
    bpf_disable_unprivileged: bool | None = None
    bpf_log_level: str = msgspec.field(default_factory=str)
    bpf_log_filters: dict[str, str] | None = None
    bpf_ctlb_log_filter: str = ""
    bpf_data_iface_pattern: str = ""
    bpf_l3_iface_pattern: str = ""
    bpf_connect_time_load_balancing_enabled: bool | None = None
    bpf_connect_time_load_balancing: str | None = None
    bpf_host_networked_nat_without_ctlb: str | None = None
    bpf_external_service_mode: str = ""
    bpf_dsr_optout_cidrs: list[str] | None = None
    bpf_ext_to_service_connmark: int | None = None
    bpf_kube_proxy_iptables_cleanup_enabled: bool | None = None
    bpf_kube_proxy_min_sync_period: str | None = None
    bpf_kube_proxy_endpoint_slices_enabled: bool | None = None
    bpf_psnat_ports: Port | None = None
    bpf_map_size_nat_frontend: int | None = None
    bpf_map_size_nat_backend: int | None = None
    bpf_map_size_nat_affinity: int | None = None
    bpf_map_size_route: int | None = None
    bpf_map_size_conntrack: int | None = None
    bpf_map_size_ip_sets: int | None = None
    bpf_map_size_if_state: int | None = None
    bpf_host_conntrack_bypass: bool | None = None
    bpf_enforce_rpf: str = ""
    bpf_policy_debug_enabled: bool | None = None
    bpf_force_track_packets_from_ifaces: list[str] | None = None
    bpf_disable_gro_for_ifaces: str = ""
    bpf_exclude_cidrs_from_nat: list[str] | None = None
    route_source: str = ""
    route_table_ranges: list[RouteTableRange] | None = None
    route_table_range: RouteTableRange | None = None
    route_sync_disabled: bool | None = None
    wireguard_enabled: bool | None = None
    wireguard_enabled_v6: bool | None = None
    wireguard_listening_port: int | None = None
    wireguard_listening_port_v6: int | None = None
    wireguard_routing_rule_priority: int | None = None
    wireguard_interface_name: str = ""
    wireguard_interface_name_v6: str = ""
    wireguard_mtu: int | None = None
    wireguard_mtuv6: int | None = None
    wireguard_host_encryption_enabled: bool | None = None
    wireguard_keep_alive: str | None = None
    aws_src_dst_check: str | None = None
    service_loop_prevention: str = ""
    workload_source_spoofing: str = ""
    mtu_iface_pattern: str = ""
    floating_ips: str | None = None
    windows_manage_firewall_rules: str | None = None
    program_cluster_routes: str | None = None
    nftables_mode: str | None = msgspec.field(default=None, name="nftablesMode")
    nftables_refresh_interval: str | None = msgspec.field(default=None, name="nftablesRefreshInterval")
    nftables_filter_allow_action: str = msgspec.field(default="", name="nftablesFilterAllowAction")
    nftables_mangle_allow_action: str = msgspec.field(default="", name="nftablesMangleAllowAction")
    nftables_filter_deny_action: str = msgspec.field(default="", name="nftablesFilterDenyAction")
    nftables_mark_mask: int | None = msgspec.field(default=None, name="nftablesMarkMask")


class FelixConfiguration(Resource):
    kind: str = kind_field("FelixConfiguration")
    spec: FelixConfigurationSpec = msgspec.field(default_factory=FelixConfigurationSpec)
