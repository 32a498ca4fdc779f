"""Prometheus metrics under upstream's names, read from the running parts at each scrape."""

from __future__ import annotations

import logging
from collections.abc import Iterator

from prometheus_client import start_http_server
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import REGISTRY, Collector

from pycalico.calc.graph import CalcGraph
from pycalico.dataplane.engine import Dataplane
from pycalico.felix.parameters import Parameters

log = logging.getLogger(__name__)


class FelixCollector(Collector):
    def __init__(self, hostname: str, graph: CalcGraph, dataplane: Dataplane) -> None:
        self._hostname = hostname
        self._graph = graph
        self._dataplane = dataplane

    def collect(self) -> Iterator[Metric]:
        host = GaugeMetricFamily("felix_host", "The node, in a label.", labels=["host"])
        host.add_metric([self._hostname], 1)
        yield host
        status = self._dataplane.status()
        counts = self._graph.counts()
        for name, text, value in (
            ("felix_active_local_endpoints", "Endpoints of this node.", counts["local_endpoints"]),
            (
                "felix_active_local_policies",
                "Policies that this node's endpoints need.",
                counts["local_policies"],
            ),
            ("felix_cluster_num_hosts", "Nodes of the cluster.", counts["hosts"]),
            ("felix_cluster_num_policies", "Policies of the cluster.", counts["policies"]),
            ("felix_cluster_num_profiles", "Profiles of the cluster.", counts["profiles"]),
            (
                "felix_cluster_num_workload_endpoints",
                "Endpoints of the cluster.",
                counts["workload_endpoints"],
            ),
            ("felix_cluster_num_host_endpoints", "Host endpoints of the cluster.", counts["host_endpoints"]),
            ("felix_int_dataplane_messages", "Messages that the dataplane took.", status.messages),
            ("felix_int_dataplane_apply_time_seconds", "Time of the last application.", status.last_apply_s),
            ("felix_int_dataplane_failures", "Keys that are not as wished.", len(status.failures)),
            ("felix_resync_state", "1 wait, 2 resync, 3 in sync.", 3 if status.started else 2),
        ):
            yield GaugeMetricFamily(name, text, value)


def serve(parameters: Parameters, hostname: str, graph: CalcGraph, dataplane: Dataplane) -> None:
    """A busy port costs the metrics, not the node's policy."""
    REGISTRY.register(FelixCollector(hostname, graph, dataplane))
    port = parameters["PrometheusMetricsPort"]
    try:
        start_http_server(port, addr=parameters["PrometheusMetricsHost"] or "0.0.0.0")
    except OSError as error:
        log.error(
            "cannot serve metrics on port %s: %s; set FELIX_PROMETHEUSMETRICSPORT", port, error.strerror
        )
