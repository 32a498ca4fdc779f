"""Prometheus metrics under upstream's names, read from the running parts at each scrape.

Counters are shown with upstream's names, which lack the ``_total`` that newer clients put behind them.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from typing import Protocol

from prometheus_client import start_http_server
from prometheus_client.core import GaugeMetricFamily, SummaryMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import REGISTRY, Collector

from pycalico.calc.graph import CalcGraph
from pycalico.dataplane.drivers.ipsets import IPSets
from pycalico.dataplane.drivers.iptables import Table
from pycalico.dataplane.engine import Dataplane
from pycalico.datastore import rejects
from pycalico.felix.parameters import Parameters
from pycalico.kernel.command import TALLIES, Tally

log = logging.getLogger(__name__)

Labelled = list[tuple[list[str], float]]


class Timing(Protocol):
    """What took how long in all."""

    count: int
    seconds: float


class ErrorCounter(logging.Handler):
    """Counts what is logged as an error."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.count = 0

    def emit(self, _: logging.LogRecord) -> None:
        self.count += 1


class FelixCollector(Collector):
    def __init__(
        self, hostname: str, graph: CalcGraph, dataplane: Dataplane, calculation: Timing, errors: ErrorCounter
    ) -> None:
        self._hostname = hostname
        self._graph = graph
        self._dataplane = dataplane
        self._calculation = calculation
        self._errors = errors

    def collect(self) -> Iterator[Metric]:
        host = GaugeMetricFamily("felix_host", "The node, in a label.", labels=["host"])
        host.add_metric([self._hostname], 1)
        yield host
        yield from self._of_calculation()
        yield from self._of_dataplane()
        yield from self._of_programs()
        yield from self._of_kernel_state()
        yield rejected_objects()
        yield GaugeMetricFamily("felix_log_errors", "Errors logged.", self._errors.count)
        yield GaugeMetricFamily("felix_logs_dropped", "Log lines not written: none ever.", 0)

    def _of_calculation(self) -> Iterator[Metric]:
        counts = self._graph.counts()
        for name, text, key in (
            ("felix_active_local_endpoints", "Endpoints of this node.", "local_endpoints"),
            ("felix_active_local_policies", "Policies that this node's endpoints need.", "local_policies"),
            ("felix_active_local_selectors", "Selectors of this node's rules.", "index_selectors"),
            ("felix_cluster_num_hosts", "Nodes of the cluster.", "hosts"),
            ("felix_cluster_num_policies", "Policies of the cluster.", "policies"),
            ("felix_cluster_num_profiles", "Profiles of the cluster.", "profiles"),
            ("felix_cluster_num_workload_endpoints", "Endpoints of the cluster.", "workload_endpoints"),
            ("felix_cluster_num_host_endpoints", "Host endpoints of the cluster.", "host_endpoints"),
            ("felix_label_index_num_endpoints", "What selectors are held against.", "index_endpoints"),
            ("felix_label_index_selector_evals", "Selectors held against labels.", "index_evaluations"),
        ):
            yield GaugeMetricFamily(name, text, counts[key])
        selectors = GaugeMetricFamily(
            "felix_label_index_num_active_selectors", "Selectors followed.", labels=["optimized"]
        )
        selectors.add_metric(["true"], counts["index_selectors"])
        yield selectors
        processed = [([kind], float(count)) for kind, count in list(self._graph.processed.items())]
        yield _gauges("felix_calc_graph_updates_processed", "Updates taken, by kind.", ["type"], processed)
        yield GaugeMetricFamily("felix_calc_graph_output_events", "Messages given.", self._graph.events)
        calculation = self._calculation
        yield SummaryMetricFamily(
            "felix_calc_graph_update_time_seconds",
            "Time of updates.",
            count_value=calculation.count,
            sum_value=calculation.seconds,
        )

    def _of_dataplane(self) -> Iterator[Metric]:
        dataplane = self._dataplane
        status = dataplane.status()
        for name, text, value in (
            ("felix_int_dataplane_messages", "Messages that the dataplane took.", status.messages),
            ("felix_int_dataplane_failures", "Keys that are not as wished.", len(status.failures)),
            ("felix_resync_state", "1 wait, 2 resync, 3 in sync.", 3 if status.started else 2),
        ):
            yield GaugeMetricFamily(name, text, value)
        for name, text, count, total in (
            ("apply_time_seconds", "Time of applications.", status.applications, dataplane.applied_s),
            ("msg_batch_size", "Messages taken at once.", *dataplane.message_batches),
            ("iface_msg_batch_size", "Interfaces that changed at once.", *dataplane.interface_batches),
        ):
            yield SummaryMetricFamily(f"felix_int_dataplane_{name}", text, count_value=count, sum_value=total)

    def _of_programs(self) -> Iterator[Metric]:
        for name, ending in (("iptables_save", "tables-save"), ("iptables_restore", "tables-restore")):
            tally = _sum(program for program in TALLIES if _plain(program).endswith(ending))
            yield GaugeMetricFamily(f"felix_{name}_calls", "Runs of the program.", tally.calls)
            yield GaugeMetricFamily(f"felix_{name}_errors", "Runs that failed.", tally.errors)
        tally = _sum(("ipset",))
        yield GaugeMetricFamily("felix_ipset_calls", "Runs of the program.", tally.calls)
        yield GaugeMetricFamily("felix_ipset_errors", "Runs that failed.", tally.errors)
        every = _sum(TALLIES)
        yield SummaryMetricFamily(
            "felix_exec_time_micros",
            "Time of programs.",
            count_value=every.calls,
            sum_value=every.seconds * 1e6,
        )

    def _of_kernel_state(self) -> Iterator[Metric]:
        assembly = self._dataplane.assembly
        if assembly is None:
            return
        chains: Labelled = []
        rules: Labelled = []
        lines: Labelled = []
        for table in assembly.tables:
            target = table.target
            if not isinstance(target, Table):
                continue
            labels = [str(target.programs.family), target.name]
            held = list(table.delta.actual.values())
            chains.append((labels, len(held)))
            rules.append((labels, sum(len(chain.ids) for chain in held)))
            lines.append((labels, target.lines_written))
        labels = ["ip_version", "table"]
        yield _gauges("felix_iptables_chains", "Chains of ours.", labels, chains)
        yield _gauges("felix_iptables_rules", "Rules of ours.", labels, rules)
        yield _gauges("felix_iptables_lines_executed", "Lines written.", labels, lines)
        sets: Labelled = []
        written = 0
        for item in assembly.sets:
            if isinstance(item.target, IPSets):
                sets.append(([{4: "inet", 6: "inet6"}[item.target.family]], len(item.delta.actual)))
                written += item.target.lines_written
        yield _gauges("felix_ipsets_calico", "IP sets of ours.", ["ip_version"], sets)
        yield GaugeMetricFamily("felix_ipsets_total", "IP sets of ours.", sum(count for _, count in sets))
        yield GaugeMetricFamily("felix_ipset_lines_executed", "Lines written.", written)


def rejected_objects() -> Metric:
    return _gauges(
        "pycalico_datastore_rejected_objects",
        "Objects of the datastore that could not be read and were left out, by kind.",
        ["kind"],
        [([kind], float(count)) for kind, count in sorted(rejects.counts().items())],
    )


def _gauges(name: str, text: str, labels: list[str], found: Labelled) -> Metric:
    family = GaugeMetricFamily(name, text, labels=labels)
    for values, value in found:
        family.add_metric(values, value)
    return family


def _plain(program: str) -> str:
    return program.replace("-legacy", "").replace("-nft", "")


def _sum(programs: Iterable[str]) -> Tally:
    found = [TALLIES[program] for program in list(programs) if program in TALLIES]
    return Tally(
        sum(each.calls for each in found),
        sum(each.errors for each in found),
        sum(each.seconds for each in found),
    )


def serve(
    parameters: Parameters, hostname: str, graph: CalcGraph, dataplane: Dataplane, calculation: Timing
) -> None:
    """A busy port costs the metrics, not the node's policy."""
    errors = ErrorCounter()
    logging.getLogger().addHandler(errors)
    REGISTRY.register(FelixCollector(hostname, graph, dataplane, calculation, errors))
    port = parameters["PrometheusMetricsPort"]
    try:
        start_http_server(port, addr=parameters["PrometheusMetricsHost"] or "0.0.0.0")
    except OSError as error:
        log.error(
            "cannot serve metrics on port %s: %s; set FELIX_PROMETHEUSMETRICSPORT", port, error.strerror
        )
