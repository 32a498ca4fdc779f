"""The dataplane's loop: messages in, kernel state out."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

import msgspec

from pycalico.base.distribution import Distribution
from pycalico.calc.messages import InSync, Message, WorkloadEndpointID
from pycalico.dataplane import mtu, schedule
from pycalico.dataplane.assembly import Assembly, assemble
from pycalico.dataplane.config import DataplaneConfig
from pycalico.dataplane.drivers import witness
from pycalico.dataplane.drivers.chains import OUR_CHAIN
from pycalico.dataplane.drivers.choice import NftablesUnfit
from pycalico.dataplane.drivers.iptables import BUILT_IN, Table
from pycalico.dataplane.drivers.nft import features as nft_features
from pycalico.dataplane.drivers.routes import Routes
from pycalico.dataplane.drivers.wireguard import OnKey
from pycalico.dataplane.managers.plane import TABLES, InterfacesChanged, Manager, MTUs
from pycalico.dataplane.managers.registry import make_managers
from pycalico.dataplane.managers.status import OnStatus, StatusManager, file_name
from pycalico.dataplane.managers.verdicts import Verdicts
from pycalico.dataplane.pruning import Pruner
from pycalico.kernel import rtnetlink
from pycalico.kernel.ifmonitor import InterfaceMonitor
from pycalico.kernel.interfaces import Interfaces
from pycalico.kernel.netlink import NetlinkError, Route
from pycalico.kernel.nftmonitor import Change, NftMonitor
from pycalico.reconcile.pipeline import Job, Pipeline

log = logging.getLogger(__name__)

_BATCH_MOST = 100
_BATCH_S = 0.01
_IDLE_S = 5.0
_WORKERS = 8
_HOST_CHECK_S = 30.0
_UNFIT_WAIT_S = 10.0
_IPVS_DEVICE = "kube-ipvs0"


class DataplaneError(Exception):
    """The kernel could not be written for good; the process should end and be started again. One line."""


class RestartNeeded(Exception):
    """Something that is only looked at when starting is another now; the process should start again. One line."""


class Failure(msgspec.Struct, frozen=True):
    """``target`` and ``key`` tell what is not as wished; ``since`` is seconds of time.monotonic()."""

    target: str
    key: str
    reason: str
    since: float
    tries: int


class Status(msgspec.Struct, frozen=True):
    """``started``: the first application after InSync is done. ``in_sync``: all is as wished but for ``failures``.

    ``applied`` is the time.monotonic() of the last application (0: none yet), ``alive`` that of the loop's last turn.
    """

    started: bool
    in_sync: bool
    applied: float
    alive: float
    messages: int
    applications: int
    last_apply_s: float
    failures: tuple[Failure, ...]
    backend: str = ""
    note: str = ""


class Counts:
    """For metrics: sizes of batches, seconds of applications, and messages by class."""

    def __init__(self) -> None:
        self.message_batches = Distribution()
        self.interface_batches = Distribution()
        self.address_batches = Distribution()
        self.applications = Distribution()
        self.messages: dict[str, int] = {}


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
        self._queue: deque[Message] = deque()
        self._events: deque[tuple[Route, bool]] = deque()
        self._changed_interfaces: set[str] = set()
        self._lost_events = False
        self._table_changes: dict[tuple[int, str, int], str] = {}
        self._wake = threading.Condition()
        self._interfaces = Interfaces(self._interfaces_changed)
        self._saw_in_sync = False
        self._managers: list[Manager] = []
        self._handlers: dict[type, list[Callable[[Any], object]]] = {}
        self._fresh_until: dict[str, float] = {}
        self._addresses: dict[str, frozenset[str]] = {}
        self._host_mtu = 0
        self._next_host_check_s = time.monotonic() + _HOST_CHECK_S
        self._status = Status(False, False, 0.0, 0.0, 0, 0, 0.0, ())
        self.assembly: Assembly | None = None
        self.counts = Counts()
        self.pruner: Pruner | None = None
        self._verdicts: Verdicts | None = None

    # ---- from other threads

    def put(self, messages: Iterable[Message]) -> None:
        with self._wake:
            self._queue.extend(messages)
            self._wake.notify()

    def status(self) -> Status:
        return self._status

    def _interfaces_changed(self, names: set[str]) -> None:
        with self._wake:
            self._changed_interfaces |= names
            self._wake.notify()

    def _route_changed(self, route: Route, present: bool) -> None:
        with self._wake:
            self._events.append((route, present))
            self._wake.notify()

    def _events_lost(self) -> None:
        with self._wake:
            self._lost_events = True
            self._wake.notify()

    def _tables_changed(self, changes: list[Change]) -> None:
        with self._wake:
            for change in changes:
                ours = change.table in BUILT_IN and (not change.chain or OUR_CHAIN.match(change.chain))
                if ours or change.chain in BUILT_IN.get(change.table, ()):
                    self._table_changes[change.family, change.table, change.pid] = change.program
            self._wake.notify()

    def _table_changes_lost(self) -> None:
        with self._wake:
            self._table_changes |= {(family, table, 0): "" for family in (4, 6) for table in TABLES}
            self._wake.notify()

    # ---- the loop

    def run(self, stop: threading.Event) -> None:
        """Until ``stop`` is set (a `put` of nothing makes it notice at once); what was programmed stays.

        Raises DataplaneError when iptables cannot be read or written in spite of retries, RestartNeeded when the
        host's MTU changed or kube-proxy's IPVS device came or went, ValueError for a configuration that cannot work.
        """
        monitor = InterfaceMonitor(
            self._interfaces,
            self._route_changed,
            self._events_lost,
            self.config.interface_refresh_s,
        )
        try:
            self._interfaces.load()
        except NetlinkError as error:
            raise DataplaneError(f"cannot read the interfaces: {error}") from None
        if not self._set_up(stop):
            return
        ended = threading.Event()
        watcher = threading.Thread(target=monitor.run, args=(ended,), name="interfaces", daemon=True)
        watcher.start()
        if self.assembly is not None and self.assembly.backend == "nft":
            tables = NftMonitor(self._tables_changed, self._table_changes_lost)
            threading.Thread(target=tables.run, args=(ended,), name="tables", daemon=True).start()
        if self.pruner:
            threading.Thread(target=self.pruner.run, args=(ended,), name="pruner", daemon=True).start()
        workers = ThreadPoolExecutor(_WORKERS, thread_name_prefix="apply")
        try:
            self._loop(stop, workers)
        finally:
            ended.set()
            workers.shutdown(wait=True)
            rtnetlink.close()
            if self.assembly:
                self.assembly.close()

    def _set_up(self, stop: threading.Event) -> bool:
        """False when ``stop`` was set before there was a dataplane that works."""
        self._host_mtu = mtu.host_mtu(self._links(), self.config.mtu_interface_pattern)
        mtus = mtu.decide(self.config, self._host_mtu)
        if self.config.mtu_file:
            mtu.write_file(self.config.mtu_file, mtus.pod)
        self.assembly = self._assemble(stop, mtus)
        if self.assembly is None:
            return False
        for plane in self.assembly.planes:
            self._managers += make_managers(plane, encrypts=self.assembly.encrypts)
        skipped = (self.config.interface_prefixes, self.config.interface_exclude)
        self._statuses = StatusManager(self._interfaces, skipped, self._has_failed_setting)
        self._managers.append(self._statuses)
        if self.config.connection_pruning:
            self._verdicts = Verdicts(self._interfaces)
            self._managers.append(self._verdicts)
            families = [plane.family for plane in self.assembly.planes]
            self.pruner = Pruner(self._verdicts, families, self.config.connection_pruning_per_s)
        for manager in self._managers:
            for kind, handler in manager.handlers.items():
                self._handlers.setdefault(kind, []).append(handler)
        self._handle(InterfacesChanged(frozenset(self._interfaces.names())))
        for name in self._interfaces.names():
            self._note_fresh(name, time.monotonic())
        return True

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
            self._status = msgspec.structs.replace(
                self._status, backend=made.backend, note=_joined(made.note, made.remark)
            )
            return made

    def _links(self) -> list[Any]:
        found = (self._interfaces.get(name) for name in self._interfaces.names())
        return [interface.link for interface in found if interface]

    def _loop(self, stop: threading.Event, workers: ThreadPoolExecutor) -> None:
        assert self.assembly is not None  # noqa: S101 - made by _set_up
        assembly = self.assembly
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
            self._wait(stop, self._until(pipeline, timers))
            self._take()
            now_s = time.monotonic()
            for timer in timers:
                timer.tick(now_s)
            self._check_fresh(now_s)
            self._check_host(now_s)
            if self._saw_in_sync:
                self._apply(pipeline, now_s)
            self._status = msgspec.structs.replace(self._status, alive=time.monotonic())
            if self._on_alive:
                self._on_alive()

    def _until(self, pipeline: Pipeline, timers: Sequence[Any]) -> float:
        """Seconds to sleep when nothing happens."""
        now_s = time.monotonic()
        due_s = [timer.due_s for timer in timers]
        if self._saw_in_sync:
            due_s += [due for due in (item.due_s() for item in pipeline.reconcilers) if due is not None]
        soonest_s: float = min(due_s)
        return max(0.0, min(soonest_s - now_s, _IDLE_S))

    def _wait(self, stop: threading.Event, at_most_s: float) -> None:
        with self._wake:
            self._wake.wait_for(lambda: stop.is_set() or self._has_news(), at_most_s)

    def _has_news(self) -> bool:
        return bool(
            self._queue
            or self._events
            or self._changed_interfaces
            or self._lost_events
            or self._table_changes
        )

    # ---- what came in

    def _take(self) -> None:
        """Takes what is there, for at most 10 ms (but always a batch), so that changes reach the kernel soon."""
        started = time.monotonic()
        while True:
            with self._wake:
                batch = [self._queue.popleft() for _ in range(min(_BATCH_MOST, len(self._queue)))]
                names, self._changed_interfaces = self._changed_interfaces, set()
                events, self._events = self._events, deque()
                lost, self._lost_events = self._lost_events, False
                changes, self._table_changes = self._table_changes, {}
            if batch:
                self.counts.message_batches.add(len(batch))
            if names:
                self._count_interfaces(names)
                self._take_interfaces(names)
            for route, present in events:
                self._take_route(route, present)
            if lost and self.assembly:
                for reconciler in (*self.assembly.routes.values(), *self.assembly.links):
                    reconciler.resync()
            if changes:
                self._take_table_changes(changes)
            for message in batch:
                self._handle(message)
            if not batch or time.monotonic() - started > _BATCH_S:
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

    def _take_interfaces(self, names: set[str]) -> None:
        assert self.assembly is not None  # noqa: S101
        now_s = time.monotonic()
        for name in names:
            self._note_fresh(name, now_s)
        self._handle(InterfacesChanged(frozenset(names)))
        # The kernel drops a link's routes, neighbours and settings with it.
        prefixes = self.config.interface_prefixes
        if any(name.startswith(prefixes) for name in names):
            for reconciler in (*self.assembly.routes.values(), *self.assembly.links[1:]):
                reconciler.resync()
        if any(not name.startswith(prefixes) for name in names):
            for reconciler in (*self.assembly.routes.values(), *self.assembly.links):
                reconciler.resync()

    def _note_fresh(self, name: str, now_s: float) -> None:
        """Routes that nobody wished on a fresh link are looked at again when its grace is over."""
        if name.startswith(self.config.interface_prefixes):
            if self._interfaces.get(name) is None:
                self._fresh_until.pop(name, None)
            else:
                self._fresh_until.setdefault(name, now_s + self.config.route_grace_s + 0.1)

    def _check_fresh(self, now_s: float) -> None:
        over = [name for name, until_s in self._fresh_until.items() if until_s <= now_s]
        if over and self.assembly:
            for reconciler in self.assembly.routes.values():
                reconciler.resync()
            for name in over:
                self._fresh_until[name] = float("inf")

    def _check_host(self, now_s: float) -> None:
        """Upstream starts afresh when these change; a link that flaps is given time to settle."""
        if now_s < self._next_host_check_s:
            return
        self._next_host_check_s = now_s + _HOST_CHECK_S
        if (self._interfaces.get(_IPVS_DEVICE) is not None) != self.config.kube_ipvs:
            raise RestartNeeded(f"{_IPVS_DEVICE} {'went' if self.config.kube_ipvs else 'appeared'}")
        if self.config.nftables_mode == "Auto" and self.assembly and not self.assembly.note:
            native = nft_features.kube_proxy_uses_nftables(
                tuple(plane.family for plane in self.assembly.planes)
            )
            if native != bool(self.assembly.natives):
                raise RestartNeeded(f"kube-proxy {'uses' if native else 'no longer uses'} nftables")
        now_mtu = mtu.smallest(self._links(), self.config.mtu_interface_pattern)
        if now_mtu not in {None, self._host_mtu}:
            raise RestartNeeded(f"the host's MTU changed from {self._host_mtu} to {now_mtu}")

    def _take_route(self, route: Route, present: bool) -> None:
        """Somebody (perhaps we) changed a route: only one that is ours and not as wished makes work."""
        assert self.assembly is not None  # noqa: S101
        reconciler = self.assembly.routes.get(6 if ":" in route.dst else 4)
        if reconciler is None:
            return
        target = cast("Routes", reconciler.target)
        known: tuple[Route, ...] = reconciler.delta.actual.get(route.dst, ())
        if not present:
            if route in known:
                left = tuple(item for item in known if item != route)
                target.forget(route)
                reconciler.confirm(route.dst, left or None)
        elif route not in known and target.is_ours(route):
            wanted = route.dst in reconciler.delta.wanted
            if wanted or not target.is_fresh(route.oif):
                reconciler.resync()

    def _take_table_changes(self, changes: dict[tuple[int, str, int], str]) -> None:
        """What our own programs write comes back to us too."""
        assert self.assembly is not None  # noqa: S101
        for reconciler in self.assembly.tables:
            table = cast("Table", reconciler.target)
            for (family, name, pid), program in changes.items():
                if (family, name) == (table.programs.family, table.name) and pid not in table.writers:
                    by = f"{program} ({pid})" if program else "somebody"
                    log.info("%s was changed by %s: looking at it", reconciler.label, by)
                    reconciler.resync()

    # ---- what goes out

    def _apply(self, pipeline: Pipeline, now_s: float) -> None:
        assert self.assembly is not None  # noqa: S101
        started = time.monotonic()
        try:
            pipeline.run(now_s, may_delete=True)
        except Exception as error:
            log.debug("application failed", exc_info=True)
            raise DataplaneError(
                f"cannot write the kernel's state: {type(error).__name__}: {error}"
            ) from error
        self._raise_for_iptables()
        self._report()
        # Before this dataplane judges all packets the other one must.
        if not self.assembly.leftovers.done and all(item.in_sync for item in self.assembly.rules):
            self.assembly.leftovers.run(now_s)
        in_kernel = all(item.in_sync for item in self.assembly.rules)
        if self.pruner and self._verdicts and in_kernel and self._verdicts.settle():
            self.pruner.wake()
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
            failures=self._failures(pipeline),
        )
        if first:
            with_what = (
                self.assembly.backend if self.assembly.natives else f"iptables {self.assembly.backend}"
            )
            log.info("first application done in %.3f s with %s", took_s, with_what)
            self._ask_witness()
            if self._on_in_sync:
                self._on_in_sync()

    def _ask_witness(self) -> None:
        """Of each IP family once: a wrong choice of iptables would show nowhere else."""
        assert self.assembly is not None  # noqa: S101
        tables = [cast("Table", item.target) for item in self.assembly.tables]
        raw = {table.programs for table in tables if table.name == "raw"}
        for programs in sorted(raw, key=lambda each: each.family):
            complaint = witness.complaint(programs)
            if complaint:
                log.error("%s", complaint)
                self._status = msgspec.structs.replace(
                    self._status, note=_joined(self._status.note, complaint)
                )

    def _raise_for_iptables(self) -> None:
        """The table has tried many times already: a fresh process may do better, and must not claim to be well."""
        assert self.assembly is not None  # noqa: S101
        for table in (*self.assembly.tables, *self.assembly.natives):
            if table.error:
                raise DataplaneError(table.error.reason)

    def _report(self) -> None:
        assert self.assembly is not None  # noqa: S101
        for endpoint, value in self._statuses.report().items():
            if self._on_status:
                self._on_status(endpoint, value)
            if self.assembly.status_files and isinstance(endpoint, WorkloadEndpointID):
                if value == "up":
                    self.assembly.status_files.want(file_name(endpoint), True)
                else:
                    self.assembly.status_files.unwant(file_name(endpoint))
        if self.assembly.status_files:
            self.assembly.status_files.run(time.monotonic())

    def _has_failed_setting(self, interface: str) -> bool:
        assert self.assembly is not None  # noqa: S101
        settings = self.assembly.planes[0].settings
        return any(f"/{interface}/" in key for key in settings.failures)

    def _failures(self, pipeline: Pipeline) -> tuple[Failure, ...]:
        found = []
        for item in pipeline.reconcilers:
            if item.error:
                found.append(Failure(item.label, "", item.error.reason, item.error.since_s, item.error.tries))
            for key, failure in item.failures.items():
                found.append(Failure(item.label, str(key), failure.reason, failure.since_s, failure.tries))
        return tuple(found)


def _joined(*notes: str) -> str:
    return "; ".join(filter(None, notes))


def _at_once(workers: ThreadPoolExecutor, jobs: Sequence[Job]) -> list[bool]:
    return [future.result() for future in [workers.submit(job) for job in jobs]]
