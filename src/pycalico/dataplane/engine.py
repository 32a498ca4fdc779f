"""The dataplane's loop: messages in, kernel state out."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

import msgspec

from pycalico.calc.messages import InSync, Message, WorkloadEndpointID
from pycalico.dataplane import mtu, schedule, status
from pycalico.dataplane.assembly import Assembly, assemble
from pycalico.dataplane.config import DataplaneConfig
from pycalico.dataplane.drivers import witness
from pycalico.dataplane.drivers.choice import NftablesUnfit
from pycalico.dataplane.drivers.iptables import Table
from pycalico.dataplane.drivers.wireguard import OnKey
from pycalico.dataplane.echoes import Echoes
from pycalico.dataplane.hostwatch import HostWatch
from pycalico.dataplane.inbox import Inbox
from pycalico.dataplane.managers.plane import InterfacesChanged, Manager, MTUs
from pycalico.dataplane.managers.registry import make_managers
from pycalico.dataplane.managers.status import OnStatus, StatusManager, file_name
from pycalico.dataplane.managers.verdicts import Verdicts
from pycalico.dataplane.pruning import Pruner
from pycalico.dataplane.status import Counts, Failure, Status
from pycalico.kernel import rtnetlink
from pycalico.kernel.ifmonitor import InterfaceMonitor
from pycalico.kernel.interfaces import Interfaces
from pycalico.kernel.netlink import NetlinkError
from pycalico.kernel.nftmonitor import NftMonitor
from pycalico.reconcile.pipeline import Job, Pipeline

log = logging.getLogger(__name__)

_BATCH_MOST = 100
_BATCH_S = 0.01
_IDLE_S = 5.0
_WORKERS = 8
_UNFIT_WAIT_S = 10.0


class DataplaneError(Exception):
    """The kernel could not be written for good; the process should end and be started again. One line."""


class Dataplane:
    """Give it messages with `put` from any thread and run `run` in a thread of its own.

    ``on_status`` is told of endpoints going up or down, ``on_in_sync`` once after the first application,
    ``on_alive`` at each turn of the loop, all in the loop's thread; ``on_key``, from any, of a family's public key for
    WireGuard (empty: none). The network namespace is that of the thread that calls `run`.
    """

    def __init__(
        self,
        config: DataplaneConfig,
        on_status: OnStatus | None = None,
        on_in_sync: Callable[[], None] | None = None,
        on_alive: Callable[[], None] | None = None,
        on_key: OnKey | None = None,
    ) -> None:
        self.config = config
        self._on_status = on_status
        self._on_in_sync = on_in_sync
        self._on_alive = on_alive
        self._on_key = on_key or (lambda _family, _key: None)
        self._inbox = Inbox()
        self._interfaces = Interfaces(self._inbox.interfaces_changed)
        self._saw_in_sync = False
        self._managers: list[Manager] = []
        self._handlers: dict[type, list[Callable[[Any], object]]] = {}
        self._addresses: dict[str, frozenset[str]] = {}
        self._status = Status()
        self.assembly: Assembly | None = None
        """None until the kernel can do what was asked for."""
        self.counts = Counts()
        self._pruner: Pruner | None = None
        self._verdicts: Verdicts | None = None

    def put(self, messages: Iterable[Message]) -> None:
        self._inbox.put(messages)

    def status(self) -> Status:
        return self._status

    # ---- the loop

    def run(self, stop: threading.Event) -> None:
        """Until ``stop`` is set (a `put` of nothing makes it notice at once); what was programmed stays.

        Raises DataplaneError when iptables cannot be read or written in spite of retries, RestartNeeded when the
        host's MTU changed or kube-proxy's IPVS device came or went, ValueError for a configuration that cannot work.
        """
        inbox = self._inbox
        # It hears what changes from here on, so that nothing is missed behind what is read now.
        links = InterfaceMonitor(
            self._interfaces, inbox.route_changed, inbox.events_lost, self.config.interface_refresh_s
        )
        try:
            self._interfaces.load()
        except NetlinkError as error:
            raise DataplaneError(f"cannot read the interfaces: {error}") from None
        now_s = time.monotonic()
        host = HostWatch(self.config, self._interfaces, now_s)
        assembly = self.assembly = self._set_up(stop, host.mtu)
        if assembly is None:
            return
        ended = threading.Event()
        self._start_watching(links, assembly, ended)
        workers = ThreadPoolExecutor(_WORKERS, thread_name_prefix="apply")
        try:
            self._loop(stop, assembly, host, Echoes(self.config, assembly, self._interfaces, now_s), workers)
        finally:
            ended.set()
            workers.shutdown(wait=True)
            rtnetlink.close()
            assembly.close()

    def _start_watching(self, links: InterfaceMonitor, assembly: Assembly, ended: threading.Event) -> None:
        watches = {"interfaces": links.run}
        if assembly.backend == "nft":
            tables = NftMonitor(self._inbox.tables_changed, self._inbox.table_changes_lost)
            watches["tables"] = tables.run
        if self._pruner:
            watches["pruner"] = self._pruner.run
        for name, run in watches.items():
            threading.Thread(target=run, args=(ended,), name=name, daemon=True).start()

    def _set_up(self, stop: threading.Event, host_mtu: int) -> Assembly | None:
        """None when ``stop`` was set before there was a dataplane that works."""
        mtus = mtu.decide(self.config, host_mtu)
        if self.config.mtu_file:
            mtu.write_file(self.config.mtu_file, mtus.pod)
        assembly = self._assemble(stop, mtus)
        if assembly is None:
            return None
        for plane in assembly.planes:
            self._managers += make_managers(plane, encrypts=assembly.encrypts)
        skipped = (self.config.interface_prefixes, self.config.interface_exclude)
        self._statuses = StatusManager(self._interfaces, skipped, assembly.has_failed_setting)
        self._managers.append(self._statuses)
        if self.config.connection_pruning:
            self._verdicts = Verdicts(self._interfaces)
            self._managers.append(self._verdicts)
            families = [plane.family for plane in assembly.planes]
            self._pruner = Pruner(self._verdicts, families, self.config.connection_pruning_per_s)
        for manager in self._managers:
            for kind, handler in manager.handlers.items():
                self._handlers.setdefault(kind, []).append(handler)
        self._handle(InterfacesChanged(frozenset(self._interfaces.names())))
        return assembly

    def _assemble(self, stop: threading.Event, mtus: MTUs) -> Assembly | None:
        """Waits, saying why in readiness, for a kernel that can do what was asked for; what is there stays."""
        while True:
            try:
                made = assemble(self.config, self._interfaces, mtus, self._on_key)
            except NftablesUnfit as error:
                log.error("%s", error)
                failure = Failure("nftables", "", str(error), time.monotonic(), 1)
                self._status = msgspec.structs.replace(self._status, failures=(failure,))
                if self._on_alive:
                    self._on_alive()
                if stop.wait(_UNFIT_WAIT_S):
                    return None
                continue
            note = status.joined(made.note, made.remark)
            self._status = msgspec.structs.replace(self._status, backend=made.backend, note=note)
            return made

    def _loop(
        self,
        stop: threading.Event,
        assembly: Assembly,
        host: HostWatch,
        echoes: Echoes,
        workers: ThreadPoolExecutor,
    ) -> None:
        pipeline = Pipeline(assembly.stages, lambda jobs: _at_once(workers, jobs))
        timers = schedule.make(
            self.config,
            time.monotonic(),
            assembly.generation,
            natives=assembly.natives,
            tables=assembly.tables,
            sets=assembly.sets,
            routes=assembly.routes.values(),
            links=assembly.links,
        )
        while not stop.is_set():
            self._inbox.wait(stop, self._until(pipeline, timers))
            self._take(echoes)
            now_s = time.monotonic()
            for timer in timers:
                timer.tick(now_s)
            echoes.check_fresh(now_s)
            host.check(assembly, now_s)
            if self._saw_in_sync:
                self._apply(assembly, pipeline, now_s)
            self._status = msgspec.structs.replace(self._status, alive=time.monotonic())
            if self._on_alive:
                self._on_alive()

    def _until(self, pipeline: Pipeline, timers: Sequence[schedule.Timer]) -> float:
        """Seconds to sleep when nothing happens."""
        now_s = time.monotonic()
        due_s = [timer.due_s for timer in timers]
        if self._saw_in_sync:
            due_s += [due for due in (item.due_s() for item in pipeline.reconcilers) if due is not None]
        return max(0.0, min(min(due_s) - now_s, _IDLE_S))

    # ---- what came in

    def _take(self, echoes: Echoes) -> None:
        """Takes what is there, for at most 10 ms (but always a batch), so that changes reach the kernel soon."""
        started = time.monotonic()
        while True:
            news = self._inbox.take(_BATCH_MOST)
            if news.interfaces:
                self._count_interfaces(news.interfaces)
                self._handle(InterfacesChanged(frozenset(news.interfaces)))
                echoes.interfaces(news.interfaces, time.monotonic())
            for route, present in news.routes:
                echoes.route(route, present)
            if news.is_gap:
                echoes.gap()
            if news.tables:
                echoes.tables(news.tables)
            if news.messages:
                self.counts.message_batches.add(len(news.messages))
            for message in news.messages:
                self._handle(message)
            if not news.messages or time.monotonic() - started > _BATCH_S:
                break
        for manager in self._managers:
            try:
                manager.resolve()
            except Exception as error:  # noqa: BLE001 - one manager's trouble must not stop the others
                log.error("%s cannot follow the last messages: %s", type(manager).__name__, error)

    def _count_interfaces(self, names: set[str]) -> None:
        self.counts.interface_batches.add(len(names))
        readdressed = 0
        for name in names:
            found = self._interfaces.get(name)
            addresses = frozenset(found.addresses) if found else frozenset()
            if addresses != self._addresses.get(name, frozenset()):
                readdressed += 1
                self._addresses[name] = addresses
        if readdressed:
            self.counts.address_batches.add(readdressed)

    def _handle(self, message: Message) -> None:
        name = type(message).__name__
        self.counts.messages[name] = self.counts.messages.get(name, 0) + 1
        if isinstance(message, InSync):
            self._saw_in_sync = True
        for handler in self._handlers.get(type(message), ()):
            try:
                handler(message)
            except Exception as error:  # noqa: BLE001 - one bad message must not stop what works
                log.error("ignoring a %s that cannot be programmed: %s", type(message).__name__, error)
        self._status = msgspec.structs.replace(self._status, messages=self._status.messages + 1)

    # ---- what goes out

    def _apply(self, assembly: Assembly, pipeline: Pipeline, now_s: float) -> None:
        started = time.monotonic()
        try:
            pipeline.run(now_s, may_delete=True)
        except Exception as error:
            log.debug("application failed", exc_info=True)
            raise DataplaneError(
                f"cannot write the kernel's state: {type(error).__name__}: {error}"
            ) from error
        _raise_for_tables(assembly)
        self._report(assembly)
        in_kernel = all(item.in_sync for item in assembly.rules)
        # Before this dataplane judges all packets the other one must.
        if in_kernel and not assembly.leftovers.done:
            assembly.leftovers.run(now_s)
        if in_kernel and self._pruner and self._verdicts and self._verdicts.settle():
            self._pruner.wake()
        took_s = time.monotonic() - started
        self.counts.applications.add(took_s)
        first = not self._status.started
        self._status = msgspec.structs.replace(
            self._status,
            started=True,
            in_sync=all(item.in_sync for item in pipeline.reconcilers),
            applied=time.monotonic(),
            applications=self._status.applications + 1,
            last_apply_s=took_s,
            failures=status.failures_of(pipeline.reconcilers),
        )
        if first:
            with_what = assembly.backend if assembly.natives else f"iptables {assembly.backend}"
            log.info("first application done in %.3f s with %s", took_s, with_what)
            self._ask_witness(assembly)
            if self._on_in_sync:
                self._on_in_sync()

    def _ask_witness(self, assembly: Assembly) -> None:
        """Of each IP family once: a wrong choice of iptables would show nowhere else."""
        tables = [cast("Table", item.target) for item in assembly.tables]
        raw = {table.programs for table in tables if table.name == "raw"}
        for programs in sorted(raw, key=lambda each: each.family):
            complaint = witness.complaint(programs)
            if complaint:
                log.error("%s", complaint)
                note = status.joined(self._status.note, complaint)
                self._status = msgspec.structs.replace(self._status, note=note)

    def _report(self, assembly: Assembly) -> None:
        files = assembly.status_files
        for endpoint, value in self._statuses.report().items():
            if self._on_status:
                self._on_status(endpoint, value)
            if files and isinstance(endpoint, WorkloadEndpointID):
                if value == "up":
                    files.want(file_name(endpoint), True)
                else:
                    files.unwant(file_name(endpoint))
        if files:
            files.run(time.monotonic())


def _raise_for_tables(assembly: Assembly) -> None:
    """The table has tried many times already: a fresh process may do better, and must not claim to be well."""
    for table in (*assembly.tables, *assembly.natives):
        if table.error:
            raise DataplaneError(table.error.reason)


def _at_once(workers: ThreadPoolExecutor, jobs: Sequence[Job]) -> list[bool]:
    return [future.result() for future in [workers.submit(job) for job in jobs]]
