"""Metrics of the tables of nftables, by family; none where iptables is used."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client.core import SummaryMetricFamily
from prometheus_client.metrics_core import Metric

from pycalico.dataplane.drivers.nft.table import NftTable

_GAUGE, _COUNTER = "gauge", "counter"
_LABEL = "ip_version"
_ROWS: tuple[tuple[str, str, str, Callable[[NftTable], float]], ...] = (
    ("chains", _GAUGE, "Chains of ours.", lambda table: table.held.chains),
    ("rules", _GAUGE, "Rules of ours.", lambda table: table.held.rules),
    ("maps", _GAUGE, "Verdict maps of ours.", lambda table: table.held.maps),
    ("sets", _GAUGE, "Sets of ours.", lambda table: table.held.sets),
    ("refusals", _COUNTER, "Transactions that the kernel refused.", lambda table: table.refusals),
    ("messages", _COUNTER, "Messages in transactions.", lambda table: table.messages_written),
    ("rules_written", _COUNTER, "Rules in transactions.", lambda table: table.rules_written),
    ("elements_written", _COUNTER, "Elements in transactions.", lambda table: table.elements_written),
    ("reads", _COUNTER, "Times that the table was read.", lambda table: table.reads),
    ("read_seconds", _GAUGE, "What the last read took.", lambda table: table.read_s),
)


def of_nftables(tables: list[NftTable]) -> Iterator[Metric]:
    for name, kind, text, value in _ROWS if tables else ():
        family = Metric(f"felix_nft_{name}", text, kind)
        for table in tables:
            # Without the ending that newer clients put behind counters, as all of Felix's.
            family.add_sample(f"felix_nft_{name}", {_LABEL: str(table.family)}, value(table))
        yield family
    if tables:
        times = SummaryMetricFamily("felix_nft_transaction_seconds", "Time of transactions.", labels=[_LABEL])
        for table in tables:
            times.add_metric([str(table.family)], table.transactions, table.commit_s)
        yield times
