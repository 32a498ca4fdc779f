"""What a resource gets when it leaves a choice open. Pure; ``fill`` changes the resource it is given.

The kinds are told apart by name, so that a program loads only those it uses.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pycalico.api.meta import Resource

#: How an address of IPv4 begins in the notation of IPv6.
_MAPPED = "::ffff:"
_BLOCK_SIZE = {4: 26, 6: 122}


def fill(resource: Resource) -> None:
    row = _FILL.get(type(resource).__name__)
    if row is not None:
        row(resource)


def pool(found: Any) -> None:
    """On writing and on reading alike: objects of older versions lack some of these."""
    spec = found.spec
    spec.block_size = spec.block_size or _BLOCK_SIZE[6 if ":" in spec.cidr.removeprefix(_MAPPED) else 4]
    spec.node_selector = spec.node_selector or "all()"
    spec.allowed_uses = spec.allowed_uses or ["Workload", "Tunnel"]
    spec.ipip_mode = spec.ipip_mode or "Never"
    spec.vxlan_mode = spec.vxlan_mode or "Never"


def policy(found: Any) -> None:
    spec = found.spec
    if not spec.types:
        spec.types = (["Ingress"] if spec.ingress or not spec.egress else []) + (
            ["Egress"] if spec.egress else []
        )


def felix(found: Any) -> None:
    spec = found.spec
    if spec.floating_ips is None:
        spec.floating_ips = "Disabled"
    old = spec.bpf_connect_time_load_balancing_enabled
    if old is not None:
        spec.bpf_connect_time_load_balancing = "Enabled" if old else "Disabled"
        spec.bpf_host_networked_nat_without_ctlb = "Disabled"
    if spec.bpf_connect_time_load_balancing is None:
        spec.bpf_connect_time_load_balancing = "TCP"
    if spec.bpf_host_networked_nat_without_ctlb is None:
        spec.bpf_host_networked_nat_without_ctlb = "Enabled"


def controllers(found: Any) -> None:
    spec = found.spec
    if spec.prometheus_metrics_port is None:
        spec.prometheus_metrics_port = 9094
    if spec.controllers.node is not None and spec.controllers.node.leak_grace_period is None:
        spec.controllers.node.leak_grace_period = "15m0s"


_FILL: dict[str, Callable[[Any], None]] = {
    "IPPool": pool,
    "NetworkPolicy": policy,
    "GlobalNetworkPolicy": policy,
    "FelixConfiguration": felix,
    "KubeControllersConfiguration": controllers,
}
