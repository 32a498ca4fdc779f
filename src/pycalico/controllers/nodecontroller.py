"""The node controller: one thread that takes from the feeds and lets its parts settle what follows.

Parts: IPAM garbage collection, automatic host endpoints, and for etcd the labels and the deletion of nodes.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from pycalico.api.v3.clusterinformation import ClusterInformation
from pycalico.api.v3.hostendpoint import HostEndpoint
from pycalico.api.v3.ipam import IPAMBlock
from pycalico.api.v3.ippool import IPPool
from pycalico.api.v3.node import Node
from pycalico.base.backoff import Backoff
from pycalico.base.duration import render_seconds
from pycalico.controllers import leakreport, leaks
from pycalico.controllers.clusterinformation import NAME as CLUSTER
from pycalico.controllers.collector import Collector
from pycalico.controllers.hostendpoints import HostEndpoints
from pycalico.controllers.informers import Informers
from pycalico.controllers.ipammetrics import IPAMMetrics
from pycalico.controllers.ipamview import Block, IPAMView
from pycalico.controllers.kubernetes import Cluster, KubernetesNode, KubernetesPod
from pycalico.controllers.leakreport import Leak
from pycalico.controllers.nodekeeper import NodeKeeper
from pycalico.controllers.nodesight import NodeSight
from pycalico.controllers.runconfig import NodeConfig
from pycalico.datastore.client import Client
from pycalico.datastore.errors import DatastoreError
from pycalico.ipam.allocator import Allocator
from pycalico.syncer.syncer import Syncer, WatchSpec
from pycalico.syncer.update import Update

log = logging.getLogger(__name__)

_PERIOD_S = 300.0
#: A look costs time in proportion to the addresses in use; this bounds its share of a core. Releasing is waiting
#: for the datastore, and does not count.
_REST_PER_LOOK = 4.0
_LEAST_REST_S = 0.2
_CALICO_KINDS = (ClusterInformation, IPAMBlock, IPPool, Node, HostEndpoint)
_KUBERNETES_KINDS = (KubernetesNode, KubernetesPod)


class NodeController:
    """``informers`` feed KubernetesNode and KubernetesPod, ``cluster`` answers fresh reads of them.

    ``report`` is given what is thought leaked, after every look.
    """

    def __init__(
        self,
        config: NodeConfig,
        client: Client,
        informers: Informers,
        cluster: Cluster,
        *,
        report: Callable[[list[Leak]], None] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._config = config
        self._clock = clock
        self._stopping = threading.Event()
        self._news = threading.Event()
        self._calico = Syncer(client, [WatchSpec(kind) for kind in _CALICO_KINDS], self._news.set)
        self._kubernetes = informers.subscribe(_KUBERNETES_KINDS, self._news.set)
        self.metrics = IPAMMetrics()
        self._view = IPAMView()
        self._sight = NodeSight(client, cluster)
        self._endpoints = HostEndpoints(client, enabled=config.auto_host_endpoints)
        self._keeper = NodeKeeper(
            client, self._sight, sync_labels=config.sync_labels, delete_nodes=config.delete_nodes
        )
        self._collector = Collector(
            self._view,
            Allocator(client),
            self._sight,
            grace_s=config.leak_grace_s,
            reclaimed=self._count_reclaimed,
            node_released=self.metrics.node_released,
            stopping=self._stopping.is_set,
            dry_run=config.gc_dry_run,
        )
        self._report = report
        grace_s = config.leak_grace_s
        self._period_s = grace_s / 2 if grace_s and grace_s > 0 else _PERIOD_S
        self._retry = Backoff(1.0, 30.0)
        self._datastore_ready = False
        self._in_sync = False
        #: Monotonic times: the next pass, and before which there must be none.
        self._pass_due_s = 0.0
        self._pass_not_before_s = 0.0

    def start(self) -> None:
        log.info("Will run periodic IPAM sync every %s", render_seconds(self._period_s))
        self._calico.start()
        threading.Thread(target=self._run, daemon=True, name="node-controller").start()

    def stop(self) -> None:
        self._stopping.set()
        self._calico.stop()
        self._news.set()

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                wait_s = self._step()
            except Exception:
                # A defect in one step must not end the controller in silence: say so and go on.
                log.exception("the node controller failed; going on in %.0f s", _PERIOD_S / 60)
                wait_s = _PERIOD_S / 60
            self._news.wait(wait_s)

    def _step(self) -> float:
        """Everything that can be done now; returns how long to wait unless there is news."""
        self._news.clear()
        self._take()
        if not self._in_sync:
            return self._period_s
        now_s = self._clock()
        due = [self._endpoints.settle(now_s), self._keeper.settle(now_s)]
        if now_s >= max(self._pass_due_s, self._pass_not_before_s):
            self._pass(now_s)
        due.append(max(self._pass_due_s, self._pass_not_before_s))
        earliest_s = min(when for when in due if when is not None)
        return max(0.0, earliest_s - self._clock())

    def _take(self) -> None:
        for syncer in (self._calico, self._kubernetes):
            for update in syncer.take(0).updates:
                self._apply(update)
        if not self._in_sync and self._calico.in_sync and self._kubernetes.in_sync:
            self._in_sync = True
            self._pass_due_s = 0.0
            log.info("Datastore and Kubernetes are in sync")

    def _apply(self, update: Update) -> None:
        name, value = update.key.name, update.value
        match update.key.kind:
            case "IPAMBlock":
                if isinstance(value, IPAMBlock) and not value.spec.deleted:
                    self._view.put_block(value)
                else:
                    self._view.remove_block(name)
            case "IPPool":
                if isinstance(value, IPPool):
                    self._view.put_pool(value)
                else:
                    self._view.remove_pool(name)
            case "Node":
                node = value if isinstance(value, Node) else None
                self._sight.put_node(name, node)
                self._endpoints.put_node(name, node)
                self._keeper.put_node(name, node)
            case "HostEndpoint":
                self._endpoints.put_endpoint(name, value if isinstance(value, HostEndpoint) else None)
                return
            case "ClusterInformation":
                if name == CLUSTER:
                    ready = isinstance(value, ClusterInformation) and value.spec.datastore_ready is not False
                    self._datastore_ready = ready
            case "KubernetesNode":
                kubernetes_node = value if isinstance(value, KubernetesNode) else None
                self._sight.put_kubernetes_node(name, kubernetes_node)
                self._keeper.put_kubernetes_node(name, kubernetes_node)
                if value is not None:
                    return
            case "KubernetesPod":
                pod = value if isinstance(value, KubernetesPod) else None
                self._sight.put_pod(update.key.namespace, name, pod)
                return
        self._pass_due_s = 0.0

    def _pass(self, now_s: float) -> None:
        self._pass_due_s = now_s + self._period_s
        if not self._datastore_ready:
            log.warning("datastore is locked, skipping ipam sync")
            return
        try:
            findings = leaks.examine(self._view, self._sight, now_s, self._config.leak_grace_s)
            looked_s = self._clock() - now_s
            good = self._collector.collect(findings, now_s)
        except DatastoreError as error:
            log.warning("error syncing IPAM data: %s", error)
            good, looked_s = False, 0.0
        self.metrics.update(self._view, self._sight.nodes())
        ended_s = self._clock()
        grace_s = self._config.leak_grace_s
        suspected = self._view.suspected()
        dry_run = self._config.gc_dry_run
        self._report(leakreport.build(self._view, suspected, ended_s, grace_s, dry_run=dry_run))
        ripe_s = leakreport.next_ripe_s(suspected, grace_s)
        if ripe_s is not None:
            # A leak is freed when its time has come, not a period later.
            self._pass_due_s = min(self._pass_due_s, ripe_s)
        self._pass_not_before_s = ended_s + max(_LEAST_REST_S, looked_s * _REST_PER_LOOK)
        if good:
            self._retry.reset()
        else:
            self._pass_due_s = min(self._pass_due_s, ended_s + self._retry.next_delay_s())

    def _count_reclaimed(self, block: Block, node: str) -> None:
        self.metrics.reclaimed(self._view.pool_of(block), node)
