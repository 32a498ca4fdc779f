"""What routing is computed from."""

from __future__ import annotations

import msgspec

from pycalico.api.v3.bgpconfiguration import BGPConfigurationSpec
from pycalico.api.v3.bgpfilter import BGPFilterSpec
from pycalico.api.v3.bgppeer import BGPPeerSpec
from pycalico.api.v3.ipam import BlockAffinitySpec
from pycalico.api.v3.ippool import IPPoolSpec
from pycalico.api.v3.kubernetes import KubernetesEndpointSlice, KubernetesService
from pycalico.api.v3.node import Node


class Settings(msgspec.Struct, frozen=True):
    """What the environment says.

    ``router_id``: CALICO_ROUTER_ID. ``advertise_cluster_ips``: CALICO_ADVERTISE_CLUSTER_IPS, a CIDR that wins
    over serviceClusterIPs. ``endpoint_node``: the name that endpoints of services carry for this node.
    ``felix_routes``: Felix writes the routes to other nodes' blocks, with kernel protocol ``felix_protocol``;
    BIRD keeps its hands off the pools. ``felix_ipv6``: so it is for IPv6, too (Felix handles IPv6 at all).
    ``bird``: the version whose grammar is written, 1 or 2.
    """

    node: str
    router_id: str = ""
    advertise_cluster_ips: str = ""
    endpoint_node: str = ""
    use_pod_cidr: bool = False
    felix_routes: bool = False
    felix_ipv6: bool = False
    felix_protocol: int = 80
    bird: int = 1

    def felix_writes(self, family: int) -> bool:
        return self.felix_routes and (family == 4 or self.felix_ipv6)


class Inputs(msgspec.Struct):
    """The datastore's present state, each kind by name.

    ``services`` and ``slices`` are keyed by namespace and name; ``secrets`` by name, with decoded values, and
    hold only those that a resource refers to and that exist.
    """

    nodes: dict[str, Node] = msgspec.field(default_factory=dict)
    configurations: dict[str, BGPConfigurationSpec] = msgspec.field(default_factory=dict)
    peers: dict[str, BGPPeerSpec] = msgspec.field(default_factory=dict)
    filters: dict[str, BGPFilterSpec] = msgspec.field(default_factory=dict)
    pools: dict[str, IPPoolSpec] = msgspec.field(default_factory=dict)
    affinities: dict[str, BlockAffinitySpec] = msgspec.field(default_factory=dict)
    services: dict[tuple[str, str], KubernetesService] = msgspec.field(default_factory=dict)
    slices: dict[tuple[str, str], KubernetesEndpointSlice] = msgspec.field(default_factory=dict)
    secrets: dict[str, dict[str, str]] = msgspec.field(default_factory=dict)

    @property
    def default(self) -> BGPConfigurationSpec:
        """The cluster-wide configuration."""
        return self.configurations.get("default") or BGPConfigurationSpec()

    def of_node(self, node: str) -> BGPConfigurationSpec:
        """The configuration of one node alone."""
        return self.configurations.get(f"node.{node}") or BGPConfigurationSpec()
