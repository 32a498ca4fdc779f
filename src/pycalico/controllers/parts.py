"""The controllers that a configuration asks for, made and connected: a row each, no class owns them."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable
from typing import Any

from pycalico.controllers import copies
from pycalico.controllers.compaction import Compaction
from pycalico.controllers.events import PolicyEvents
from pycalico.controllers.exposition import Exposition
from pycalico.controllers.informers import Informers
from pycalico.controllers.kubernetes import NODES, PODS, KubernetesCluster
from pycalico.controllers.leakreport import Leak
from pycalico.controllers.mirror import Mirror
from pycalico.controllers.nodecontroller import NodeController
from pycalico.controllers.runconfig import RunConfig
from pycalico.controllers.source import KubernetesSource
from pycalico.datastore.client import Client
from pycalico.datastore.kubernetes.rest import Rest

log = logging.getLogger(__name__)

#: Sections of the configuration to what their mirror copies.
_MIRRORS: dict[str, Callable[[], Any]] = {
    "policy": copies.policies,
    "namespace": copies.namespaces,
    "service_account": copies.service_accounts,
    "workload_endpoint": copies.EndpointLabels,
}


class Parts:
    """``client`` as it is, ``gated`` writes only while this replica leads; ``report`` takes what is thought leaked."""

    def __init__(
        self,
        config: RunConfig,
        client: Client,
        gated: Client,
        rest: Rest,
        may_write: Callable[[], bool],
        report: Callable[[list[Leak]], None],
    ) -> None:
        self._config = config
        self._client = client
        self._gated = gated
        self._rest = rest
        self._may_write = may_write
        self._report = report

    def start(self, running: contextlib.ExitStack) -> None:
        """``running`` is told how to stop each part."""
        config = self._config
        exposition = Exposition(config.metrics_port)
        events = PolicyEvents(self._rest)
        source = KubernetesSource(self._rest, [PODS, NODES, *copies.kinds(events.complain)])
        informers = Informers(source)
        gateway = getattr(self._client, "gateway", None)
        started: list[Any] = [events]
        if config.node is not None:
            cluster = KubernetesCluster(self._rest)
            node = NodeController(config.node, self._gated, informers, cluster, report=self._report)
            exposition.add(node.metrics)
            started.append(node)
        for name, mirror in config.mirrors.items():
            if gateway is None:
                log.info("controller %s has nothing to do with the Kubernetes datastore", name)
                continue
            copying = _MIRRORS[name]()
            client: Any = self._client
            started.append(Mirror(name, copying, client, informers, mirror, self._may_write))
        if gateway is not None and config.compaction_period_s > 0:
            started.append(Compaction(gateway, config.compaction_period_s, self._may_write))
        # The feeds last: everybody who wants to hear has subscribed.
        for part in [exposition, *started, informers]:
            part.start()
            running.callback(part.stop)
        log.info("Started")
