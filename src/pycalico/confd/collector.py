"""Updates in, the inputs of routing kept current."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

from pycalico.api.v3.bgpconfiguration import BGPConfiguration
from pycalico.api.v3.bgpfilter import BGPFilter
from pycalico.api.v3.bgppeer import BGPPeer
from pycalico.api.v3.ipam import BlockAffinity
from pycalico.api.v3.ippool import IPPool
from pycalico.api.v3.kubernetes import KubernetesEndpointSlice, KubernetesService
from pycalico.api.v3.node import Node
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

    def apply(self, updates: Iterable[Update]) -> None:
        for update in updates:
            self._apply(update)

    def _apply(self, update: Update) -> None:
        inputs, key, value = self.inputs, update.key, update.value
        match key.kind:
            case "Node":
                _set(inputs.nodes, key.name, value if isinstance(value, Node) else None)
            case "BGPConfiguration":
                spec = value.spec if isinstance(value, BGPConfiguration) else None
                _set(inputs.configurations, key.name, spec)
            case "BGPPeer":
                _set(inputs.peers, key.name, value.spec if isinstance(value, BGPPeer) else None)
            case "BGPFilter":
                _set(inputs.filters, key.name, value.spec if isinstance(value, BGPFilter) else None)
            case "IPPool":
                _set(inputs.pools, key.name, value.spec if isinstance(value, IPPool) else None)
            case "BlockAffinity":
                own = isinstance(value, BlockAffinity) and value.spec.node == self._node
                _set(
                    inputs.affinities,
                    key.name,
                    value.spec if own and isinstance(value, BlockAffinity) else None,
                )
            case "KubernetesService":
                service = value if isinstance(value, KubernetesService) else None
                _set(inputs.services, (key.namespace, key.name), service)
            case "KubernetesEndpointSlice":
                piece = value if isinstance(value, KubernetesEndpointSlice) else None
                _set(inputs.slices, (key.namespace, key.name), piece)

    def secret_names(self) -> set[str]:
        """The secrets that some resource takes a password from."""
        passwords = [spec.password for spec in self.inputs.peers.values()]
        passwords += [spec.node_mesh_password for spec in self.inputs.configurations.values()]
        return {
            password.secret_key_ref.name
            for password in passwords
            if password and password.secret_key_ref and password.secret_key_ref.name
        }


def _set(table: dict[K, V], key: K, value: V | None) -> None:
    if value is None:
        table.pop(key, None)
    else:
        table[key] = value
