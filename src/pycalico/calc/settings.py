"""What the calculation needs to know of this node and of Felix's parameters."""

from __future__ import annotations

import msgspec


class CalcSettings(msgspec.Struct, frozen=True, kw_only=True):
    """``*_enabled`` None means: derived from the pools.

    ``cluster_routes``: this Felix programs routes to other nodes' blocks whatever the encapsulation.
    """

    hostname: str
    ipip_enabled: bool | None = None
    vxlan_enabled: bool | None = None
    ipv6: bool = True
    use_pod_cidrs: bool = False
    workload_routes: bool = False
    """RouteSource is WorkloadIPs."""
    spoofing_allowed: bool = False
    """WorkloadSourceSpoofing is Any."""
    cluster_routes: bool = False
    wireguard: bool = False
