"""Felix's configuration: a table of single values, then what concerns several."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import msgspec

from pycalico.api.v3.felixconfiguration import FelixConfiguration, FelixConfigurationSpec, RouteTableRange
from pycalico.api.validate import rules, values
from pycalico.api.validate.faults import Faults, go_text
from pycalico.base import duration

_ENABLED = values.one_of("Enabled", "Disabled")
_MOST_TABLES = 65535
_MOST_TABLE = 2**32 - 1
_MOST_REGION = 63 - len("openstack-region-")
_TIMEOUT_NAME = r"^[a-zA-Z0-9_ -]+$"

#: attribute, name upstream, rule, whether the value holds; in the order of the fields.
_FIELDS: tuple[tuple[str, str, str, Callable[[Any], bool]], ...] = (
    ("feature_detect_override", "FeatureDetectOverride", "keyValueList", values.are_pairs),
    ("feature_gates", "FeatureGates", "keyValueList", values.are_pairs),
    ("iptables_backend", "IptablesBackend", "iptablesBackend", values.one_of("Auto", "NFT", "Legacy")),
    (
        "default_endpoint_to_host_action",
        "DefaultEndpointToHostAction",
        "dropAcceptReturn",
        values.one_of("Drop", "Accept", "Return"),
    ),
    (
        "iptables_filter_allow_action",
        "IptablesFilterAllowAction",
        "acceptReturn",
        values.one_of("Accept", "Return"),
    ),
    (
        "iptables_mangle_allow_action",
        "IptablesMangleAllowAction",
        "acceptReturn",
        values.one_of("Accept", "Return"),
    ),
    (
        "iptables_filter_deny_action",
        "IptablesFilterDenyAction",
        "dropReject",
        values.one_of("Drop", "Reject"),
    ),
    ("log_severity_file", "LogSeverityFile", "logLevel", values.is_log_level),
    ("log_severity_screen", "LogSeverityScreen", "logLevel", values.is_log_level),
    ("log_severity_sys", "LogSeveritySys", "logLevel", values.is_log_level),
    ("log_debug_filename_regex", "LogDebugFilenameRegex", "regexp", values.is_pattern),
    ("prometheus_metrics_host", "PrometheusMetricsHost", "prometheusHost", values.is_prometheus_host),
    (
        "iptables_nat_outgoing_interface_filter",
        "IptablesNATOutgoingInterfaceFilter",
        "ifaceFilter",
        values.is_interface_filter,
    ),
    ("bpf_log_level", "BPFLogLevel", "bpfLogLevel", values.one_of("Debug", "Info", "Off")),
    ("bpf_log_filters", "BPFLogFilters", "bpfLogFilters", values.are_log_filters),
    ("bpf_data_iface_pattern", "BPFDataIfacePattern", "regexp", values.is_pattern),
    ("bpf_l3_iface_pattern", "BPFL3IfacePattern", "regexp", values.is_pattern),
    (
        "bpf_connect_time_load_balancing",
        "BPFConnectTimeLoadBalancing",
        "oneof",
        values.one_of("TCP", "Enabled", "Disabled"),
    ),
    ("bpf_host_networked_nat_without_ctlb", "BPFHostNetworkedNATWithoutCTLB", "oneof", _ENABLED),
    ("bpf_external_service_mode", "BPFExternalServiceMode", "bpfServiceMode", values.one_of("Tunnel", "DSR")),
    ("bpf_dsr_optout_cidrs", "BPFDSROptoutCIDRs", "cidrs", values.are_cidrs),
    (
        "bpf_force_track_packets_from_ifaces",
        "BPFForceTrackPacketsFromIfaces",
        "ifaceFilterSlice",
        values.are_interface_filters,
    ),
    ("bpf_disable_gro_for_ifaces", "BPFDisableGROForIfaces", "regexp", values.is_pattern),
    ("bpf_exclude_cidrs_from_nat", "BPFExcludeCIDRsFromNAT", "cidrs", values.are_cidrs),
    ("route_source", "RouteSource", "routeSource", values.is_pattern),
    ("wireguard_interface_name", "WireguardInterfaceName", "interface", values.is_interface),
    ("wireguard_interface_name_v6", "WireguardInterfaceNameV6", "interface", values.is_interface),
    ("aws_src_dst_check", "AWSSrcDstCheck", "oneof", values.one_of("DoNothing", "Enable", "Disable")),
    (
        "service_loop_prevention",
        "ServiceLoopPrevention",
        "oneof",
        values.one_of("Drop", "Reject", "Disabled"),
    ),
    ("workload_source_spoofing", "WorkloadSourceSpoofing", "oneof", values.one_of("Disabled", "Any")),
    ("mtu_iface_pattern", "MTUIfacePattern", "regexp", values.is_pattern),
    ("windows_manage_firewall_rules", "WindowsManageFirewallRules", "oneof", _ENABLED),
    ("nftables_mode", "NFTablesMode", "nftablesMode", values.one_of("Disabled", "Enabled", "Auto")),
    (
        "nftables_filter_allow_action",
        "NftablesFilterAllowAction",
        "acceptReturn",
        values.one_of("Accept", "Return"),
    ),
    (
        "nftables_mangle_allow_action",
        "NftablesMangleAllowAction",
        "acceptReturn",
        values.one_of("Accept", "Return"),
    ),
    (
        "nftables_filter_deny_action",
        "NftablesFilterDenyAction",
        "dropReject",
        values.one_of("Drop", "Reject"),
    ),
)
#: attribute, name, (rule, bound) pairs.
_NUMBERS: tuple[tuple[str, str, tuple[tuple[str, int], ...]], ...] = (
    ("debug_port", "DebugPort", (("gte", 0), ("lte", 65535))),
    ("bpf_ext_to_service_connmark", "BPFExtToServiceConnmark", (("gte", 0), ("lte", 2**32 - 1))),
    ("wireguard_listening_port", "WireguardListeningPort", (("gt", 0), ("lte", 65535))),
    ("wireguard_listening_port_v6", "WireguardListeningPortV6", (("gt", 0), ("lte", 65535))),
    ("wireguard_routing_rule_priority", "WireguardRoutingRulePriority", (("gt", 0), ("lt", 32766))),
)
_POINTERS = {field.name for field in msgspec.structs.fields(FelixConfigurationSpec) if field.default is None}
#: Both in the order in which faults are told: that of the fields.
_ROWS: tuple[Any, ...] = tuple(
    sorted((*_FIELDS, *_NUMBERS), key=lambda row: FelixConfigurationSpec.__struct_fields__.index(row[0]))
)
_COMPARE: dict[str, Callable[[int, int], bool]] = {
    "gte": lambda value, bound: value >= bound,
    "lte": lambda value, bound: value <= bound,
    "gt": lambda value, bound: value > bound,
    "lt": lambda value, bound: value < bound,
}


def configuration(faults: Faults, found: FelixConfiguration) -> None:
    spec = found.spec
    for row in _ROWS:
        _row(faults, getattr(spec, row[0]), *row)
    for override in spec.health_timeout_overrides:
        shown = f"{{{override.name} {{{override.timeout}}}}}"
        if not re.fullmatch(_TIMEOUT_NAME.strip("^$"), override.name):
            faults.add("HealthTimeoutOverride.Name", shown, f"name should match regex {_TIMEOUT_NAME}")
        if override.timeout and duration.parse_ns(override.timeout) < 0:
            faults.add("HealthTimeoutOverride.Timeout", shown, "Timeout should not be negative")
    for port in (spec.nat_port_range, *(spec.kube_node_port_ranges or ()), spec.bpf_psnat_ports):
        if port is not None:
            rules.port(faults, port)
    for each in spec.route_table_ranges or ():
        _id_range(faults, each)
    old = spec.route_table_range
    if old is not None and not 1 <= old.min <= old.max <= 250:
        faults.add(
            "RouteTableRange",
            f"{{{old.min} {old.max}}}",
            "must be a range of route table indices within 1..250",
        )
    _together(faults, spec)


def _row(faults: Faults, value: Any, attribute: str, name: str, tag: Any, holds: Any = None) -> None:
    if holds is not None:
        # What may be left out upstream by being no value at all has to hold when it is empty text.
        faults.field(name, value, tag, holds, required=value == "" and attribute in _POINTERS)
        return
    for rule, bound in tag if value is not None else ():
        if not _COMPARE[rule](value, bound):
            faults.tag(name, value, rule)
            return


def _id_range(faults: Faults, found: RouteTableRange) -> None:
    shown = f"{{{found.min} {found.max}}}"
    if found.min > found.max:
        faults.add("RouteTableRange", shown, "min value cannot be greater than max value")
    if found.min <= 0:
        faults.add("RouteTableRange", shown, "cannot target indices < 1")
    if found.max > _MOST_TABLE:
        faults.add("RouteTableRange", shown, "max index too high")


def _together(faults: Faults, spec: FelixConfigurationSpec) -> None:
    ranges = spec.kube_node_port_ranges or []
    if len(ranges) > 7:
        faults.add("KubeNodePortRanges", ranges, "node port ranges list is too long (max 7)")
    for port in ranges:
        if isinstance(port, str) and ":" not in port:
            faults.add("KubeNodePortRanges", ranges, "node port ranges should not contain named ports")
    for cidr in spec.external_nodes_list or ():
        found = values.parts(cidr)
        if found is None and cidr:
            faults.add("ExternalNodesCIDRList", cidr, "has invalid CIDR(s)")
        elif found is None or found[0].version != 4:
            faults.add("ExternalNodesCIDRList", cidr, "has invalid IPv6 CIDR")
    region = spec.openstack_region
    if len(region) > _MOST_REGION:
        faults.add("OpenstackRegion", region, "is too long")
    elif region and not values.is_label(region):
        faults.add("OpenstackRegion", region, "must be a valid DNS label")
    for name, text, version in (
        ("NATOutgoingAddress", spec.nat_outgoing_address, 4),
        ("DeviceRouteSourceAddress", spec.device_route_source_address, 4),
        ("DeviceRouteSourceAddressIPv6", spec.device_route_source_address_i_pv6, 6),
    ):
        address = values.address(text) if text else None
        if text and (address is None or address.version != version):
            faults.add(name, text, f"is not a valid IPv{version} address")
    if spec.route_table_range is not None and spec.route_table_ranges is not None:
        faults.add(
            "RouteTableRange",
            f"&{{{spec.route_table_range.min} {spec.route_table_range.max}}}",
            "cannot be set when `RouteTableRanges` is also set",
        )
    tables = sum(each.max - each.min + 1 for each in spec.route_table_ranges or ())
    if tables > _MOST_TABLES:
        shown = f"&{go_text(spec.route_table_ranges)}"  # a pointer upstream
        faults.add("RouteTableRanges", shown, "targets too many tables")
