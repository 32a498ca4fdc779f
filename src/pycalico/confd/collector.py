"""Updates in, the inputs of routing kept current."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

from pycalico.api.meta import ObjectMeta
from pycalico.api.v3.bgpconfiguration import BGPConfiguration
from pycalico.api.v3.bgpfilter import BGPFilter
from pycalico.api.v3.bgppeer import BGPPeer
from pycalico.api.v3.ipam import BlockAffinity
from pycalico.api.v3.ippool import IPPool
from pycalico.api.v3.kubernetes import KubernetesEndpointSlice, KubernetesService
from pycalico.api.v3.node import Node, NodeSpec, NodeStatus
from pycalico.bgp.inputs import Inputs
from pycalico.syncer.feeds import WatchSpec
from pycalico.syncer.update import Update

WATCHES = [WatchSpec(kind) for kind in (Node, BGPConfiguration, BGPPeer, BGPFilter, IPPool, BlockAffinity)]
SERVICE_WATCHES = [WatchSpec(KubernetesService), WatchSpec(KubernetesEndpointSlice)]

K = TypeVar("K")
V = TypeVar("V")


class Collector:
    """Keeps what concerns this node; of other nodes' blocks nothing."""

    def __init__(self, node: str) -> None:
        self.inputs = Inputs()
        self._node = node

    def apply(self, updates: Iterable[Update]) -> bool:
        """Tells whether anything changed that routing looks at; nodes' heartbeats, for one, do not count."""
        changed = False
        for update in updates:
            changed = self._apply(update) or changed
        return changed

    def _apply(self, update: Update) -> bool:
        inputs, key, value = self.inputs, update.key, update.value
        name, full = key.name, (key.namespace, key.name)
        match key.kind:
            case "Node":
                return _set(inputs.nodes, name, _bare(value) if isinstance(value, Node) else None)
            case "BGPConfiguration":
                spec = value.spec if isinstance(value, BGPConfiguration) else None
                return _set(inputs.configurations, name, spec)
            case "BGPPeer":
                return _set(inputs.peers, name, value.spec if isinstance(value, BGPPeer) else None)
            case "BGPFilter":
                return _set(inputs.filters, name, value.spec if isinstance(value, BGPFilter) else None)
            case "IPPool":
                return _set(inputs.pools, name, value.spec if isinstance(value, IPPool) else None)
            case "BlockAffinity":
                spec_of_block = value.spec if isinstance(value, BlockAffinity) else None
                own = spec_of_block is not None and spec_of_block.node == self._node
                return _set(inputs.affinities, name, spec_of_block if own else None)
            case "KubernetesService":
                service = value if isinstance(value, KubernetesService) else None
                return _set(inputs.services, full, service)
            case "KubernetesEndpointSlice":
                return _set(
                    inputs.slices, full, value if isinstance(value, KubernetesEndpointSlice) else None
                )
        return False

    def secret_names(self) -> set[str]:
        """The secrets that some resource takes a password from."""
        passwords = [spec.password for spec in self.inputs.peers.values()]
        passwords += [spec.node_mesh_password for spec in self.inputs.configurations.values()]
        return {
            password.secret_key_ref.name
            for password in passwords
            if password and password.secret_key_ref and password.secret_key_ref.name
        }


def _bare(node: Node) -> Node:
    """Only what routing looks at, so that a change of anything else is none."""
    metadata = ObjectMeta(name=node.metadata.name, labels=node.metadata.labels)
    return Node(
        metadata=metadata,
        spec=NodeSpec(bgp=node.spec.bgp),
        status=NodeStatus(pod_cidrs=node.status.pod_cidrs),
    )


def _set(table: dict[K, V], key: K, value: V | None) -> bool:
    if value is None:
        return table.pop(key, None) is not None
    changed = table.get(key) != value
    table[key] = value
    return changed
