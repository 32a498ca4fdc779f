"""The lab's control plane: one loop that schedules pods and keeps DaemonSets, Deployments, ReplicaSets and endpoints."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from pycalico.datastore.errors import DatastoreError
from pycalico.datastore.kubernetes.rest import MERGE_PATCH, path_of
from pycalico.lab import scheduler, services, workloads
from pycalico.lab.cluster import KINDS, Cache, Cluster, Object

_log = logging.getLogger(__name__)
#: Changes that come close together are answered together.
_SETTLE_S = 0.02
_RETRY_S = 0.5


class Control:
    """Level-triggered: each round looks at everything, does what is missing and forgets."""

    def __init__(
        self,
        cluster: Cluster,
        pods: Cache,
        nodes: Cache,
        service_cache: Cache,
        slice_cache: Cache,
        wake: threading.Event,
    ) -> None:
        self._cluster = cluster
        self._pods = pods
        self._nodes = nodes
        self._wake = wake
        self._daemonsets = Cache(cluster, "DaemonSet", wake.set)
        self._deployments = Cache(cluster, "Deployment", wake.set)
        self._replicasets = Cache(cluster, "ReplicaSet", wake.set)
        self._services, self._slices = service_cache, slice_cache
        self._endpoints = Cache(cluster, "Endpoints", wake.set)
        #: Created by us but perhaps not yet in the cache: name → when; keeps a round from creating them again.
        self._fresh: dict[str, tuple[str, float]] = {}

    def run(self) -> None:
        for cache in (
            self._pods,
            self._nodes,
            self._daemonsets,
            self._deployments,
            self._replicasets,
            self._services,
            self._slices,
            self._endpoints,
        ):
            cache.synced.wait()
        failed = False
        while True:
            self._wake.wait(_RETRY_S if failed else None)
            time.sleep(_SETTLE_S)
            self._wake.clear()
            failed = not self._round()

    def _round(self) -> bool:
        """One pass over everything; False when something has to be tried again."""
        good = True
        for item in self._deployments.all():
            good &= self._keep(item, workloads.deployment(item, self._replicasets.all()))
            for replicaset, size in workloads.scaled(item, self._replicasets.all()):
                good &= self._try(self._scale, replicaset, size)
        for item in self._replicasets.all():
            good &= self._keep(item, workloads.replicaset(item, self._pods.all()))
        for item in self._daemonsets.all():
            good &= self._keep(item, workloads.daemonset(item, self._nodes.all(), self._pods.all()))
        bound: list[Object] = [pod for pod in self._pods.all() if pod["spec"].get("nodeName")]
        for pod in self._pods.all():
            if pod["spec"].get("nodeName") or pod["metadata"].get("deletionTimestamp"):
                continue
            node = scheduler.choose(pod, self._nodes.all(), bound)
            if node and self._try(self._cluster.bind, pod, node):
                bound.append({**pod, "spec": {**pod["spec"], "nodeName": node}})
        return self._keep_endpoints() and good

    def _keep_endpoints(self) -> bool:
        plan = services.reconcile(
            self._services.all(), self._pods.all(), self._slices.all(), self._endpoints.all()
        )
        good = True
        for new in plan.create:
            # What was made a moment ago may not have come back through the watch.
            good &= self._try(self._cluster.apply, new)
        for old, part in plan.change:
            good &= self._try(self._cluster.merge, old, part)
        for old in plan.delete:
            good &= self._try(self._cluster.delete, old)
        return good

    def _keep(self, item: Object, plan: workloads.Plan) -> bool:
        if item["metadata"].get("deletionTimestamp"):
            return True
        good = True
        if not self._awaits(item):
            for new in plan.create:
                good &= self._try(self._create, item, new)
        for old in plan.delete:
            good &= self._try(self._cluster.delete, old)
        before = item.get("status") or {}
        if any(before.get(key, 0) != value for key, value in plan.status.items()):
            good &= self._try(self._cluster.patch_status, item, plan.status)
        return good

    def _create(self, owner: Object, item: Object) -> None:
        made = self._cluster.create(item)
        self._fresh[made["metadata"]["uid"]] = (owner["metadata"]["uid"], time.monotonic())

    def _awaits(self, owner: Object) -> bool:
        """Whether something created for the owner has not come back through the watch yet (5 s at most)."""
        seen = {one["metadata"]["uid"] for cache in (self._pods, self._replicasets) for one in cache.all()}
        limit = time.monotonic() - 5.0
        self._fresh = {
            uid: (whose, when)
            for uid, (whose, when) in self._fresh.items()
            if uid not in seen and when > limit
        }
        return any(whose == owner["metadata"]["uid"] for whose, _ in self._fresh.values())

    def _scale(self, item: Object, size: int) -> None:
        meta = item["metadata"]
        api, plural, _ = KINDS["ReplicaSet"]
        path = path_of(api, plural, meta["namespace"], meta["name"])
        self._cluster.rest.patch(path, {"spec": {"replicas": size}}, dict, MERGE_PATCH)

    def _try(self, work: Callable[..., object], *arguments: object) -> bool:
        try:
            work(*arguments)
        except DatastoreError as error:
            _log.warning("%s; trying again", error)
            return False
        return True
