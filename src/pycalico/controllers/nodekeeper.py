"""For etcd, where Calico keeps nodes of its own: copies Kubernetes' labels, and removes what Kubernetes removed."""

from __future__ import annotations

import logging

import msgspec

from pycalico.api.v3.node import Node
from pycalico.base.backoff import Backoff
from pycalico.controllers.kubernetes import Existence, KubernetesNode
from pycalico.controllers.nodesight import NodeSight, kubernetes_name
from pycalico.datastore.client import Client
from pycalico.datastore.errors import DatastoreError, NotFound, Unavailable
from pycalico.datastore.typed import TypedClient
from pycalico.ipam.allocator import Allocator

log = logging.getLogger(__name__)

#: The labels that were copied last, as JSON: what vanishes from them vanishes here, what users added stays.
ANNOTATION = "projectcalico.org/kube-labels"
_FIRST_DELAY_S, _MOST_DELAY_S = 0.1, 30.0


def with_labels(node: Node, labels: dict[str, str]) -> Node | None:
    """``node`` with Kubernetes' ``labels``; None when it has them already. An unreadable record counts as empty."""
    meta = node.metadata
    try:
        before = msgspec.json.decode(meta.annotations.get(ANNOTATION, "{}"), type=dict[str, str])
    except msgspec.DecodeError as error:
        log.warning("node %s: ignoring annotation %s: %s", meta.name, ANNOTATION, error)
        before = {}
    kept = {key: value for key, value in meta.labels.items() if key not in before or key in labels}
    wanted = {**kept, **labels}
    if wanted == meta.labels and before == labels and ANNOTATION in meta.annotations:
        return None
    record = msgspec.json.encode(labels, order="sorted").decode()
    changed = msgspec.structs.replace(
        meta, labels=wanted, annotations={**meta.annotations, ANNOTATION: record}
    )
    return msgspec.structs.replace(node, metadata=changed)


class NodeKeeper:
    """Works off one Calico node at a time, from the present state of both sides; retries with backoff."""

    def __init__(self, client: Client, sight: NodeSight, *, sync_labels: bool, delete_nodes: bool) -> None:
        self._client = client
        self._sight = sight
        self._sync_labels = sync_labels
        self._delete_nodes = delete_nodes
        self._nodes: dict[str, Node] = {}
        self._calico_names: dict[str, str] = {}
        self._labels: dict[str, dict[str, str]] = {}
        self._due_s: dict[str, float] = {}
        self._backoffs: dict[str, Backoff] = {}

    def put_node(self, name: str, node: Node | None) -> None:
        self._calico_names = {k: v for k, v in self._calico_names.items() if v != name}
        if node is None:
            self._nodes.pop(name, None)
            self._due_s.pop(name, None)
            return
        known_as = kubernetes_name(node)
        if known_as and (self._sync_labels or self._delete_nodes):
            self._nodes[name] = node
            self._calico_names[known_as] = name
            self._due_s.setdefault(name, 0.0)

    def put_kubernetes_node(self, name: str, node: KubernetesNode | None) -> None:
        if node is None:
            self._labels.pop(name, None)
        else:
            self._labels[name] = node.metadata.labels
        if name in self._calico_names:
            self._due_s.setdefault(self._calico_names[name], 0.0)

    def settle(self, now_s: float) -> float | None:
        """Does what is due; returns when to come again (monotonic seconds), None when all is done."""
        for name, due_s in list(self._due_s.items()):
            if due_s > now_s:
                continue
            try:
                self._settle(name)
            except DatastoreError as error:
                log.warning("node %s: %s; trying again", name, error)
                backoff = self._backoffs.setdefault(name, Backoff(_FIRST_DELAY_S, _MOST_DELAY_S))
                self._due_s[name] = now_s + backoff.next_delay_s()
            else:
                self._due_s.pop(name, None)
                self._backoffs.pop(name, None)
        return min(self._due_s.values(), default=None)

    def _settle(self, name: str) -> None:
        node = self._nodes.get(name)
        known_as = kubernetes_name(node) if node else None
        if node is None or not known_as:
            return
        if known_as not in self._labels:
            if self._delete_nodes:
                self._delete(name)
        elif self._sync_labels and with_labels(node, self._labels[known_as]) is not None:
            current = self._client.get(Node, name)
            changed = with_labels(current, self._labels[known_as])
            if changed is not None:
                self._client.update(changed)
                log.info("Synced labels of node %s", name)

    def _delete(self, name: str) -> None:
        try:
            current = self._client.get(Node, name)
        except NotFound:
            return
        proof = self._sight.node(name)
        if proof is Existence.UNKNOWN:
            raise Unavailable(f"cannot tell whether its Kubernetes node {kubernetes_name(current)} is gone")
        if proof is Existence.GONE:
            # With what belongs to it: endpoints, tunnel addresses, blocks, peers, configuration of its own.
            whole = TypedClient(self._client, lambda: Allocator(self._client))
            whole.delete(Node, name, revision=current.metadata.resource_version)
            log.info("Deleted Calico node %s, whose Kubernetes node is gone", name)
