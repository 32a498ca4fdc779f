"""Prometheus metrics under upstream's names, read from the running parts at each scrape."""

from __future__ import annotations

import logging
import resource
from collections.abc import Iterable, Iterator
from typing import Protocol

from prometheus_client.core import GaugeMetricFamily, SummaryMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from pycalico.base.distribution import Distribution
from pycalico.calc.graph import CalcGraph
from pycalico.dataplane.drivers.ipsets import IPSets
from pycalico.dataplane.drivers.iptables import Table
from pycalico.dataplane.drivers.nft.table import NftTable
from pycalico.dataplane.drivers.routes import Routes
from pycalico.dataplane.engine import Dataplane
from pycalico.datastore import rejects
from pycalico.felix import nft_metrics
from pycalico.kernel.command import TALLIES, TIMES, Tally

log = logging.getLogger(__name__)

Labelled = list[tuple[list[str], float]]


#: Upstream counts in the keys of its own model, of which one of our resources may be several.
_UPDATES = {
    "WorkloadEndpoint": ("WorkloadEndpointKey",),
    "HostEndpoint": ("HostEndpointKey",),
    "NetworkPolicy": ("PolicyKey",),
    "GlobalNetworkPolicy": ("PolicyKey",),
    "KubernetesNetworkPolicy": ("PolicyKey",),
    "NetworkSet": ("NetworkSetKey",),
    "GlobalNetworkSet": ("NetworkSetKey",),
    "IPPool": ("IPPoolKey",),
    "IPAMBlock": ("BlockKey",),
    "Node": ("HostIPKey", "ResourceKey"),
    "Profile": ("ProfileRulesKey", "ProfileLabelsKey", "ResourceKey"),
    "FelixConfiguration": ("GlobalConfigKey",),
    "ClusterInformation": ("ReadyFlagKey",),
}
_MESSAGES = {
    "PolicyUpdate": "ActivePolicyUpdate",
    "PolicyRemove": "ActivePolicyRemove",
    "ProfileUpdate": "ActiveProfileUpdate",
    "ProfileRemove": "ActiveProfileRemove",
    "IPSetDelta": "IPSetDeltaUpdate",
    "IPPoolUpdate": "IPAMPoolUpdate",
    "IPPoolRemove": "IPAMPoolRemove",
    "HostMetadataUpdate": "HostMetadataV4V6Update",
    "HostMetadataRemove": "HostMetadataV4V6Remove",
    "VTEPUpdate": "VXLANTunnelEndpointUpdate",
    "VTEPRemove": "VXLANTunnelEndpointRemove",
    "ServiceCIDRsUpdate": "GlobalBGPConfigUpdate",
}
_SEARCHES = {
    "all": "endpoint-full-scan",
    "label": "endpoint-label-name",
    "value": "endpoint-single-value",
    "values": "endpoint-multi-value",
}
_EBPF = ("dataplane_endpoints", "dirty_dataplane_endpoints", "happy_dataplane_endpoints", "num_ip_sets")
_QUANTILES = (0.5, 0.9, 0.99)


class Calculation(Protocol):
    """What `CalcGraph` took to work through updates, and how often the datastore was listed."""

    times: Distribution
    resyncs: int


class ErrorCounter(logging.Handler):
    """Counts what is logged as an error."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.count = 0

    def emit(self, _: logging.LogRecord) -> None:
        self.count += 1


class FelixCollector(Collector):
    def __init__(
        self,
        hostname: str,
        graph: CalcGraph,
        dataplane: Dataplane,
        calculation: Calculation,
        errors: ErrorCounter,
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
        yield _count("felix_log_errors", "Errors logged.", self._errors.count)
        yield _count("felix_logs_dropped", "Log lines not written: none ever.", 0)
        for name in _EBPF:
            yield GaugeMetricFamily(f"felix_bpf_{name}", "Of the eBPF dataplane, which is not used.", 0)
        most = resource.getrlimit(resource.RLIMIT_AS)[0]
        yield GaugeMetricFamily(
            "process_virtual_memory_max_bytes", "Limit of virtual memory; -1: none.", most
        )

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
        ):
            yield GaugeMetricFamily(name, text, counts[key])
        slow = counts["index_slow_selectors"]
        followed: Labelled = [(["true"], counts["index_selectors"] - slow), (["false"], slow)]
        yield _gauges(
            "felix_label_index_num_active_selectors", "Selectors followed.", ["optimized"], followed
        )
        held: Labelled = [(["true"], counts["index_hits"]), (["false"], counts["index_misses"])]
        yield _counter("felix_label_index_selector_evals", "Selectors held against labels.", ["result"], held)
        searched: Labelled = [([name], counts[f"searches_{how}"]) for how, name in _SEARCHES.items()]
        yield _counter(
            "felix_label_index_strategy_evals",
            "How a selector's endpoints were found.",
            ["strategy"],
            searched,
        )
        processed: dict[str, float] = {}
        for kind, count in list(self._graph.processed.items()):
            for key in _UPDATES.get(kind, ("ResourceKey",)):
                processed[key] = processed.get(key, 0) + count
        yield _counter(
            "felix_calc_graph_updates_processed",
            "Updates taken, by kind.",
            ["type"],
            [([key], count) for key, count in processed.items()],
        )
        yield _count("felix_calc_graph_output_events", "Messages given.", self._graph.events)
        yield from _summary(
            "felix_calc_graph_update_time_seconds", "Time of updates.", self._calculation.times
        )
        yield _count("felix_resyncs_started", "Times that the datastore was read.", self._calculation.resyncs)

    def _of_dataplane(self) -> Iterator[Metric]:
        status = self._dataplane.status()
        counts = self._dataplane.counts
        taken: Labelled = [
            ([_MESSAGES.get(name, name)], count) for name, count in list(counts.messages.items())
        ]
        yield _counter("felix_int_dataplane_messages", "Messages that the dataplane took.", ["type"], taken)
        for name, text, value in (
            ("felix_int_dataplane_failures", "Keys that are not as wished.", len(status.failures)),
            ("felix_resync_state", "1 wait, 2 resync, 3 in sync.", 3 if status.started else 2),
        ):
            yield GaugeMetricFamily(name, text, value)
        for name, text, seen in (
            ("apply_time_seconds", "Time of applications.", counts.applications),
            ("msg_batch_size", "Messages taken at once.", counts.message_batches),
            ("iface_msg_batch_size", "Interfaces that changed at once.", counts.interface_batches),
            ("addr_msg_batch_size", "Interfaces readdressed at once.", counts.address_batches),
        ):
            yield from _summary(f"felix_int_dataplane_{name}", text, seen)

    def _of_programs(self) -> Iterator[Metric]:
        for name, ending in (("iptables_save", "tables-save"), ("iptables_restore", "tables-restore")):
            tally = _sum(program for program in TALLIES if _plain(program).endswith(ending))
            yield _count(f"felix_{name}_calls", "Runs of the program.", tally.calls)
            yield _count(f"felix_{name}_errors", "Runs that failed.", tally.errors)
        tally = _sum(("ipset",))
        yield _count("felix_ipset_calls", "Runs of the program.", tally.calls)
        yield _count("felix_ipset_errors", "Runs that failed.", tally.errors)
        yield from _summary("felix_exec_time_micros", "Time of programs.", TIMES, 1e6)

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
        yield _counter("felix_iptables_lines_executed", "Lines written.", labels, lines)
        lock = assembly.lock
        waits = lock.waits if lock else Distribution()
        yield from _summary("felix_iptables_lock_acquire_secs", "Time waited for iptables' lock.", waits)
        # Upstream tells versions apart by who takes the lock; since 1.6 it is the program itself.
        tries: Labelled = [(["1.6"], lock.retries if lock else 0)]
        yield _counter("felix_iptables_lock_retries", "Looks at the held lock.", ["version"], tries)
        listings, writings = Distribution(), Distribution()
        for reconciler in assembly.routes.values():
            if isinstance(reconciler.target, Routes):
                listings.merge(reconciler.target.listings)
                writings.merge(reconciler.target.writings)
        yield from _summary("felix_route_table_list_seconds", "Time of reading all routes.", listings)
        yield from _summary("felix_route_table_per_iface_sync_seconds", "Time of writing routes.", writings)
        sets: Labelled = []
        written = 0
        for item in assembly.sets:
            if isinstance(item.target, IPSets):
                sets.append(([{4: "inet", 6: "inet6"}[item.target.family]], len(item.delta.actual)))
                written += item.target.lines_written
        yield _gauges("felix_ipsets_calico", "IP sets of ours.", ["ip_version"], sets)
        yield GaugeMetricFamily("felix_ipsets_total", "IP sets of ours.", sum(count for _, count in sets))
        yield _count("felix_ipset_lines_executed", "Lines written.", written)
        targets = [item.target for item in assembly.natives]
        yield from nft_metrics.of_nftables([target for target in targets if isinstance(target, NftTable)])


def _counter(name: str, text: str, labels: list[str], found: Labelled) -> Metric:
    """Under its own name, without the ending that newer clients put behind counters."""
    family = Metric(name, text, "counter")
    for values, value in found:
        family.add_sample(name, dict(zip(labels, values, strict=True)), value)
    return family


def _count(name: str, text: str, value: float) -> Metric:
    return _counter(name, text, [], [([], value)])


def _summary(name: str, text: str, seen: Distribution, scale: float = 1.0) -> Iterator[Metric]:
    family = SummaryMetricFamily(name, text, count_value=seen.count, sum_value=seen.total * scale)
    for share, value in zip(_QUANTILES, seen.quantiles(*_QUANTILES), strict=True):
        family.add_sample(name, {"quantile": str(share)}, value * scale)
    yield family


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
