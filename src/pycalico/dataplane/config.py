"""What the dataplane needs to know, resolved: no strings left to parse, no sources left to weigh.

The application fills it from Felix's parameters (their names are given where they differ); everything has
Felix's v3.28.1 default. A change of any field asks for a new Dataplane, as upstream asks for a restart.
"""

from __future__ import annotations

import msgspec


class FailsafePort(msgspec.Struct, frozen=True):
    """A port that host endpoint policy never cuts. ``protocol`` is tcp or udp, ``net`` a CIDR or empty."""

    protocol: str
    port: int
    net: str = ""


def _ports(text: str) -> tuple[FailsafePort, ...]:
    pairs = (item.split(":") for item in text.split())
    return tuple(FailsafePort(protocol, int(port)) for protocol, port in pairs)


FAILSAFE_IN = _ports("tcp:22 udp:68 tcp:179 tcp:2379 tcp:2380 tcp:5473 tcp:6443 tcp:6666 tcp:6667")
FAILSAFE_OUT = _ports("udp:53 udp:67 tcp:179 tcp:2379 tcp:2380 tcp:5473 tcp:6443 tcp:6666 tcp:6667")


class DataplaneConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Times in seconds, MTUs in bytes (0: found out), addresses as text without prefix length (empty: none)."""

    hostname: str
    ipv6: bool = True

    # ---- interfaces
    interface_prefixes: tuple[str, ...] = ("cali",)
    interface_exclude: tuple[str, ...] = ("kube-ipvs0",)
    """Names, or regular expressions between slashes, whose addresses are not the host's own."""
    mtu_interface_pattern: str = r"^((en|wl|ww|sl|ib)[Pcopsvx].*|(eth|wlan|wwan).*)"

    # ---- nftables
    nftables_mode: str = "Auto"
    """NFTablesMode: Enabled, Disabled, or Auto (as kube-proxy does)."""
    nftables_refresh_s: float = 180.0
    nftables_mark_mask: int = 0xFFFF0000
    nftables_filter_allow_action: str = "ACCEPT"
    nftables_mangle_allow_action: str = "ACCEPT"
    nftables_filter_deny_action: str = "DROP"
    """Twins of iptables' parameters, which they replace where nftables is used."""

    # ---- iptables
    iptables_backend: str = "auto"
    """auto, legacy or nft."""
    chain_insert_mode: str = "insert"
    """insert or append."""
    mark_mask: int = 0xFFFF0000
    endpoint_to_host_action: str = "DROP"
    """DefaultEndpointToHostAction: DROP, RETURN or ACCEPT."""
    filter_allow_action: str = "ACCEPT"
    mangle_allow_action: str = "ACCEPT"
    """IptablesFilterAllowAction, IptablesMangleAllowAction: ACCEPT or RETURN."""
    filter_deny_action: str = "DROP"
    """IptablesFilterDenyAction: DROP or REJECT."""
    log_prefix: str = "calico-packet"
    conntrack_invalid_check: bool = True
    """Not DisableConntrackInvalidCheck."""
    failsafe_inbound: tuple[FailsafePort, ...] = FAILSAFE_IN
    failsafe_outbound: tuple[FailsafePort, ...] = FAILSAFE_OUT
    service_loop_prevention: str = "Drop"
    """Drop, Reject or Disabled."""
    source_spoofing_allowed: bool = False
    """WorkloadSourceSpoofing is Any."""
    floating_ips: bool = False
    iptables_lock_timeout_s: float = 0.0
    iptables_lock_probe_interval_s: float = 0.05
    iptables_lock_file: str = "/run/xtables.lock"
    feature_overrides: dict[str, bool] = {}
    """FeatureDetectOverride: SNATFullyRandom, MASQFullyRandom, RestoreSupportsLock, ..."""

    # ---- NAT
    nat_port_range: tuple[int, int] | None = None
    nat_outgoing_address: str = ""
    nat_outgoing_interface_filter: str = ""

    # ---- IPVS and OpenStack
    kube_ipvs: bool = False
    kube_node_port_ranges: tuple[tuple[int, int], ...] = ((30000, 32767),)
    openstack: bool = False
    openstack_metadata_ip: str = ""
    openstack_metadata_port: int = 8775

    # ---- IP sets
    max_ipset_size: int = 1048576

    # ---- routes
    route_protocol: int = 3
    """DeviceRouteProtocol."""
    route_source_ipv4: str = ""
    route_source_ipv6: str = ""
    """DeviceRouteSourceAddress(IPv6): the preferred source of every route that is ours."""
    remove_external_routes: bool = True
    route_sync: bool = True
    """Not RouteSyncDisabled."""
    program_cluster_routes: bool = False
    route_grace_s: float = 10.0
    """A link first seen so recently keeps routes that nobody asked for: CNI may be ahead of us."""

    # ---- overlays
    ipip: bool = False
    ipip_tunnel_address: str = ""
    ipip_mtu: int = 0
    ipip_clean_up: bool = True
    """With IPIP off: take our address from tunl0 (IpInIpEnabled was left unset)."""
    vxlan: bool = False
    vxlan_v6: bool = False
    vxlan_vni: int = 4096
    vxlan_port: int = 4789
    vxlan_mtu: int = 0
    vxlan_mtu_v6: int = 0
    vxlan_tunnel_address: str = ""
    vxlan_tunnel_address_v6: str = ""
    allow_vxlan_from_workloads: bool = False
    allow_ipip_from_workloads: bool = False
    external_node_cidrs: tuple[str, ...] = ()

    # ---- WireGuard
    wireguard: bool = False
    wireguard_v6: bool = False
    wireguard_port: int = 51820
    wireguard_port_v6: int = 51821
    wireguard_interface: str = "wireguard.cali"
    wireguard_interface_v6: str = "wg-v6.cali"
    wireguard_host_encryption: bool = False
    wireguard_mtu: int = 0
    wireguard_mtu_v6: int = 0
    wireguard_rule_priority: int = 99
    wireguard_table: int = 1
    """Of both families; the first of RouteTableRanges."""
    wireguard_keepalive_s: int = 0
    wireguard_key: str = ""
    wireguard_key_v6: str = ""
    """What the datastore says that this node's public keys are."""
    azure: bool = False

    # ---- timing
    iptables_refresh_s: float = 180.0
    iptables_post_write_check_s: float = 5.0
    ipsets_refresh_s: float = 10.0
    route_refresh_s: float = 90.0
    interface_refresh_s: float = 90.0
    watchdog_s: float = 90.0
    status_delay_s: float = 1.0
    """EndpointReportingDelaySecs."""

    # ---- open connections
    connection_pruning: bool = False
    """ConnectionPruning: cut those that a change of policy no longer allows."""
    connection_pruning_per_s: float = 100.0

    # ---- files
    mtu_file: str = "/var/lib/calico/mtu"
    """Where the pods' MTU is written for CNI; empty: nowhere."""
    endpoint_status_path: str = ""
    """EndpointStatusPathPrefix."""

    def for_nftables(self) -> DataplaneConfig:
        return msgspec.structs.replace(
            self,
            mark_mask=self.nftables_mark_mask,
            filter_allow_action=self.nftables_filter_allow_action,
            mangle_allow_action=self.nftables_mangle_allow_action,
            filter_deny_action=self.nftables_filter_deny_action,
        )

    def route_source(self, family: int) -> str:
        return self.route_source_ipv4 if family == 4 else self.route_source_ipv6
