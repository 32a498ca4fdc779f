"""Nodes and pods as the node controller sees them: what the feeds said, and fresh reads as a second proof."""

from __future__ import annotations

import logging

from pycalico.api.v3.node import Node
from pycalico.controllers.kubernetes import Cluster, Existence, KubernetesNode, KubernetesPod
from pycalico.controllers.leaks import NotKubernetes
from pycalico.datastore.client import Client
from pycalico.datastore.errors import DatastoreError, NotFound

log = logging.getLogger(__name__)

ORCHESTRATOR = "k8s"
_MIGRATION_LABEL, _MIGRATED = "projectcalico.org/node-network-during-migration", "calico"


def kubernetes_name(node: Node) -> str | None:
    """The name by which Kubernetes knows a Calico node; None when it is none of Kubernetes'."""
    for reference in node.spec.orch_refs:
        if reference.orchestrator == ORCHESTRATOR:
            return reference.node_name
    return None


class NodeSight:
    """``leaks.World`` and ``collector.Fresh``."""

    def __init__(self, client: Client, cluster: Cluster) -> None:
        self._client = client
        self._cluster = cluster
        self._names: dict[str, str | None] = {}
        self._kubernetes_nodes: dict[str, KubernetesNode] = {}
        self._pods: dict[tuple[str, str], KubernetesPod] = {}

    # ---- from the feeds ----

    def put_node(self, name: str, node: Node | None) -> None:
        if node is None:
            self._names.pop(name, None)
        else:
            self._names[name] = kubernetes_name(node)

    def put_kubernetes_node(self, name: str, node: KubernetesNode | None) -> None:
        if node is None:
            self._kubernetes_nodes.pop(name, None)
        else:
            self._kubernetes_nodes[name] = node

    def put_pod(self, namespace: str, name: str, pod: KubernetesPod | None) -> None:
        if pod is None:
            self._pods.pop((namespace, name), None)
        else:
            self._pods[namespace, name] = pod

    def nodes(self) -> list[str]:
        """The Calico nodes."""
        return list(self._names)

    # ---- the first proof ----

    def kubernetes_node(self, node: str) -> str | None:
        found = self._names.get(node)
        # The feed may be behind: a node that it does not know is looked for.
        return found or self._looked_up(node)

    def node_exists(self, kubernetes_name: str) -> bool:
        return kubernetes_name in self._kubernetes_nodes

    def cached_pod(self, namespace: str, name: str) -> KubernetesPod | None:
        return self._pods.get((namespace, name))

    # ---- the second ----

    def pod(self, namespace: str, name: str) -> KubernetesPod | Existence:
        return self._cluster.pod(namespace, name)

    def node(self, node: str) -> Existence:
        try:
            name = self._looked_up(node)
        except NotKubernetes:
            return Existence.THERE
        except DatastoreError as error:
            log.warning("Failed to query node %s, assume it exists: %s", node, error)
            return Existence.UNKNOWN
        return Existence.GONE if name is None else self._cluster.node(name)

    def migrating(self, node: str) -> bool:
        try:
            name = self.kubernetes_node(node)
        except (NotKubernetes, DatastoreError) as error:
            log.warning("Failed to check if node %s is being migrated from Flannel: %s", node, error)
            return True
        found = self._kubernetes_nodes.get(name) if name else None
        label = found.metadata.labels.get(_MIGRATION_LABEL) if found else None
        return label is not None and label != _MIGRATED

    def _looked_up(self, node: str) -> str | None:
        try:
            found = self._client.get(Node, node)
        except NotFound:
            return None
        name = kubernetes_name(found)
        if not name:
            raise NotKubernetes(node)
        return name
