"""What the other dataplane left: removed when this one is programmed in full, so that no packet goes unjudged."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pycalico.dataplane.drivers import backend
from pycalico.dataplane.drivers.chains import OUR_CHAIN
from pycalico.dataplane.drivers.ipsets import IPSets
from pycalico.dataplane.drivers.iptables import Options, Table
from pycalico.dataplane.drivers.nft.objects import TABLE
from pycalico.kernel import nftables
from pycalico.kernel.nfnetlink import Channel, NftablesError
from pycalico.reconcile.reconciler import Reconciler

log = logging.getLogger(__name__)

_TABLES = ("raw", "mangle", "nat", "filter")
_LEGACY_TABLES = {4: Path("/proc/net/ip_tables_names"), 6: Path("/proc/net/ip6_tables_names")}
_RETRY_S = 30.0


class Leftovers:
    """`run` until `done`; jobs say what they could not do."""

    def __init__(self, jobs: Sequence[Callable[[], str]]) -> None:
        self._jobs = list(jobs)
        self._due_s = 0.0

    @property
    def done(self) -> bool:
        return not self._jobs

    def run(self, now_s: float) -> None:
        if now_s < self._due_s:
            return
        left = []
        for job in self._jobs:
            problem = job()
            if problem:
                log.warning("leftovers of the other dataplane stay for now: %s", problem)
                left.append(job)
        self._jobs = left
        self._due_s = now_s + _RETRY_S


def of_iptables(families: Sequence[int]) -> Leftovers:
    """Our chains and rules in both variants of iptables, and our IP sets."""
    return Leftovers([_job(family) for family in families])


def _job(family: int) -> Callable[[], str]:
    return lambda: _remove_iptables(family)


def _remove_iptables(family: int) -> str:
    tables = [(variant, table) for variant in ("legacy", "nft") for table in _held(family, variant)]
    targets: list[Reconciler[Any, Any, Any]] = [
        Reconciler(f"{variant} {table}", Table(table, backend.programs(family, variant), Options()))
        for variant, table in tables
    ]
    targets.append(Reconciler("IP sets", IPSets(family)))
    problems = []
    for item in targets:
        if item.run(time.monotonic()) and item.in_sync and not item.failures:
            log.info("removed what the iptables dataplane left: %s v%d", item.label, family)
        if item.error:
            problems.append(item.error.reason)
        problems += [f"{item.label} {key}: {failure.reason}" for key, failure in item.failures.items()]
    return "; ".join(problems[:3])


def _held(family: int, variant: str) -> list[str]:
    """Tables that may hold something of ours; looking with iptables itself would make the tables."""
    if variant == "legacy":
        try:
            loaded = _LEGACY_TABLES[family].read_text().split()
        except OSError:
            return []
        return [table for table in _TABLES if table in loaded]
    try:
        with Channel() as channel:
            present = nftables.tables(channel, family)
            return [
                table
                for table in _TABLES
                if table in present and any(map(OUR_CHAIN.match, nftables.chains(channel, family, table)))
            ]
    except NftablesError:
        return []


def of_nftables(families: Sequence[int]) -> Leftovers:
    """The whole table is ours."""
    return Leftovers([lambda: _remove_nftables(families)])


def _remove_nftables(families: Sequence[int]) -> str:
    try:
        with Channel() as channel:
            held = [family for family in families if TABLE in nftables.tables(channel, family)]
            if held:
                answer = channel.commit([nftables.delete_table(family, TABLE) for family in held])
                if answer.refusals:
                    return f"table {TABLE}: {answer.refusals[0].reason}"
                log.info("removed what the nftables dataplane left: table %s", TABLE)
    except NftablesError as error:
        # No nf_tables in this kernel: nothing can be left there.
        log.debug("nf_tables: %s", error)
    return ""
