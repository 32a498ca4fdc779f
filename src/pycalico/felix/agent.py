"""Felix running: syncer, calculation and dataplane wired together, until something asks for a fresh start."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, TypeVar

from pycalico.api.v3.clusterinformation import ClusterInformation
from pycalico.api.v3.felixconfiguration import FelixConfiguration
from pycalico.api.v3.ippool import IPPool
from pycalico.api.v3.node import Node
from pycalico.base import health, heap
from pycalico.base.distribution import Distribution
from pycalico.calc import felixconfig, messages
from pycalico.calc.graph import KINDS, KUBERNETES_KINDS, CalcGraph, tunnel_parameters
from pycalico.calc.network import node_facts
from pycalico.dataplane.drivers.wireguard import OnKey
from pycalico.dataplane.engine import Dataplane, DataplaneError
from pycalico.dataplane.hostwatch import RestartNeeded
from pycalico.datastore.client import Client
from pycalico.datastore.config import KUBERNETES, from_environment
from pycalico.datastore.errors import DatastoreError, NotFound
from pycalico.datastore.open import open_client
from pycalico.felix import parameters, settings
from pycalico.felix.parameters import HARMLESS, ParameterError, Parameters
from pycalico.syncer.syncer import Syncer, WatchSpec
from pycalico.syncer.update import Update

if TYPE_CHECKING:
    from pycalico.felix.reports import Reports

log = logging.getLogger(__name__)

T = TypeVar("T")

#: What a supervisor sees when a change of configuration asked for a fresh start.
RESTART_CODE = 129
_FAILED_CODE = 1
_RESTART_DELAY_S = 2.0
_RETRY_S = 1.0
#: A datastore that does not answer for longer makes the node not ready; what is programmed stays.
_CUT_OFF_S = 10.0
#: Readiness has to tell within 30 s that it is away: so long until it is asked, as long for its answer, a little more.
_SILENCE_S = 10.0
_TAKE_S = 2.0
_CALC_TIMEOUT_S = 30.0
_WATCHDOG_LEAST_S = 20.0
_IPVS = Path("/sys/class/net/kube-ipvs0")

_STARTUP, _CALC, _DATAPLANE = "FelixStartup", "CalculationGraph", "InternalDataplaneMainLoop"


class Stopped(Exception):
    """The agent ends with ``code``."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code


class Calculation:
    """Seconds per update, batch by batch, and how often the datastore was read."""

    def __init__(self) -> None:
        self.times = Distribution()
        self.resyncs = 0
        self._count = 0
        self._began_s = 0.0

    def begin(self, count: int) -> None:
        self._count = count
        self._began_s = time.monotonic()

    def end(self) -> None:
        if self._count:
            self.times.add((time.monotonic() - self._began_s) / self._count)


class Agent:
    """One run of Felix. ``stop`` may be set from a signal handler."""

    def __init__(self, config_file: str, environ: Mapping[str, str], stop: threading.Event) -> None:
        """Raises ParameterError for a local configuration that cannot be used."""
        self.stop = stop
        self._environ = environ
        self._from_environment = parameters.from_environment(environ)
        self._from_file = parameters.from_file(config_file)
        self.parameters = self._weigh({}, {})
        self.hostname = self.parameters["FelixHostname"] or _hostname(environ)
        self._health = health.Health()
        self.calculation = Calculation()
        self._dataplane: Dataplane | None = None
        self._dataplane_failure: BaseException | None = None
        self._config = settings.datastore(from_environment(environ), self.parameters, self._from_file)
        self._keys = ("", "")

    def _weigh(self, everywhere: Mapping[str, str], here: Mapping[str, str]) -> Parameters:
        return parameters.weigh(
            everywhere=everywhere, here=here, file=self._from_file, environ=self._from_environment
        )

    def run(self) -> int:
        """Works until stopped; returns the exit code. What is programmed stays."""
        # Registered first: with nobody to ask, health has nothing to object.
        self._health.register(_STARTUP)
        self._health.report(_STARTUP, ready=False, detail="starting")
        self._serve_health()
        client = open_client(self._config, self._environ)
        try:
            self._start(client)
        except Stopped as stopped:
            log.log(logging.INFO if stopped.code == 0 else logging.WARNING, "%s", stopped)
            return stopped.code
        finally:
            self.stop.set()
            client.close()
        return 0

    # ---- start-up

    def _serve_health(self) -> None:
        p = self.parameters
        if not p["HealthEnabled"]:
            return
        try:
            health.serve(self._health, p["HealthHost"], p["HealthPort"])
        except OSError as error:
            where = f"{p['HealthHost']}:{p['HealthPort']}"
            raise ParameterError(
                f"cannot serve health on {where}: {error.strerror}; set FELIX_HEALTHPORT"
            ) from error

    def _start(self, client: Client) -> None:
        self._await_ready(client)
        self.parameters = self._patiently(
            "configuration", lambda: self._weigh(*self._datastore_parameters(client))
        )
        encapsulation = self._patiently("pools", lambda: self._encapsulation(client))
        graph = CalcGraph(
            settings.calculation(self.parameters, self.hostname, use_pod_cidrs=self._config.k8s_use_pod_cidr)
        )
        config = settings.dataplane(
            self.parameters, self.hostname, encapsulation, kube_ipvs=_IPVS.exists(), keys=self._keys
        )
        self._register_parts()
        self._health.report(_CALC, ready=False)
        self._health.report(_DATAPLANE, ready=False)
        reports = self._reports(client)
        self._dataplane = Dataplane(
            config,
            on_status=reports.endpoint if reports else None,
            on_in_sync=reports.complete if reports else None,
            on_alive=self._dataplane_alive,
            on_key=self._publisher(client),
        )
        if reports:
            threading.Thread(target=reports.run, args=(self.stop,), name="reports", daemon=True).start()
        self._health.report(_STARTUP, ready=True)
        if self.parameters["PrometheusMetricsEnabled"]:
            self._serve_metrics(graph, self._dataplane)
        threading.Thread(target=self._run_dataplane, name="dataplane", daemon=True).start()
        syncer = Syncer(client, [WatchSpec(kind) for kind in self._kinds()], silence_s=_SILENCE_S)
        syncer.start()
        self.calculation.resyncs += 1
        threading.Thread(target=self._wake_when_stopped, args=(syncer,), name="stop", daemon=True).start()
        try:
            self._follow(syncer, graph, self._dataplane, encapsulation)
        finally:
            syncer.stop()

    def _register_parts(self) -> None:
        watchdog_s = self.parameters["DataplaneWatchdogTimeout"]
        wished = self.parameters["HealthTimeoutOverrides"]
        timeout_s = max(watchdog_s, _WATCHDOG_LEAST_S) if watchdog_s else 0.0
        self._health.register(_CALC, timeout_s=wished.get(_CALC, _CALC_TIMEOUT_S))
        self._health.register(_DATAPLANE, timeout_s=wished.get(_DATAPLANE, timeout_s))

    def _reports(self, client: Client) -> Reports | None:
        """Where there is a place for them."""
        if self._config.datastore_type == KUBERNETES:
            return None
        # Not for processes on the Kubernetes datastore.
        from pycalico.datastore.etcd.client import EtcdClient  # noqa: PLC0415
        from pycalico.felix import reports  # noqa: PLC0415

        if not isinstance(client, EtcdClient):
            return None
        p = self.parameters
        wished = reports.Settings(
            self.hostname,
            p["OpenstackRegion"],
            p["ReportingIntervalSecs"],
            p["ReportingTTLSecs"],
            p["EndpointReportingEnabled"],
            p["EndpointReportingDelaySecs"],
        )
        return reports.Reports(client.gateway, wished)

    def _publisher(self, client: Client) -> OnKey | None:
        """Where there is a key to publish, or one to take back."""
        p = self.parameters
        if not (p["WireguardEnabled"] or p["WireguardEnabledV6"] or any(self._keys)):
            return None
        from pycalico.felix.published_keys import PublishedKeys  # noqa: PLC0415 - few need it

        keys = PublishedKeys(client, self.hostname)
        threading.Thread(target=keys.run, args=(self.stop,), name="keys", daemon=True).start()
        return keys.tell

    def _serve_metrics(self, graph: CalcGraph, dataplane: Dataplane) -> None:
        from pycalico.felix import exposition, metrics  # noqa: PLC0415 - costs 20 ms where nobody asks for it

        errors = metrics.ErrorCounter()
        logging.getLogger().addHandler(errors)
        felix = metrics.FelixCollector(self.hostname, graph, dataplane, self.calculation, errors)
        exposition.serve(self.parameters, self.hostname, felix)

    def _kinds(self) -> list[type]:
        kinds = [
            kind for kind in KINDS if not (self._config.k8s_use_pod_cidr and kind.__name__ == "IPAMBlock")
        ]
        return [*kinds, *KUBERNETES_KINDS] if self._config.datastore_type == KUBERNETES else kinds

    def _await_ready(self, client: Client) -> None:
        """Until the cluster is initialised and its datastore unlocked.

        Waiting for an operator to do so counts as ready, so that a roll-out can pass; not reaching the
        datastore does not.
        """
        said = ""
        while True:
            waits_for_operator = True
            try:
                spec = client.get(ClusterInformation, "default").spec
                if spec.datastore_ready is not False:
                    self._health.report(_STARTUP, ready=False, detail="starting")
                    return
                reason = "the datastore is locked"
            except NotFound:
                reason = "the cluster is not initialised yet"
            except DatastoreError as error:
                reason = str(error)
                waits_for_operator = False
            if reason != said:
                log.info("waiting: %s", reason)
                said = reason
            self._pause(ready=waits_for_operator)

    def _pause(self, *, ready: bool) -> None:
        self._health.report(_STARTUP, ready=ready, detail="waiting for the datastore")
        if self.stop.wait(_RETRY_S):
            raise Stopped(0, "stopped")

    def _patiently(self, what: str, read: Callable[[], T]) -> T:
        while True:
            try:
                return read()
            except (DatastoreError, ParameterError) as error:
                log.warning("cannot read the %s: %s", what, error)
                self._pause(ready=False)

    def _datastore_parameters(self, client: Client) -> tuple[dict[str, str], dict[str, str]]:
        everywhere: dict[str, str] = {}
        here: dict[str, str] = {}
        try:
            information = client.get(ClusterInformation, "default")
            everywhere |= felixconfig.cluster_parameters(information)
            everywhere |= felixconfig.parameters(client.get(FelixConfiguration, "default"))
        except NotFound:
            log.info("there is no FelixConfiguration default")
        try:
            facts = node_facts(client.get(Node, self.hostname))
            self._keys = facts.wireguard_key, facts.wireguard_key_v6
            here |= tunnel_parameters(facts)
        except (NotFound, ValueError) as error:
            log.warning("this node's tunnel addresses are not known: %s", error)
        with suppress(NotFound):
            here |= felixconfig.parameters(client.get(FelixConfiguration, f"node.{self.hostname}"))
        return everywhere, here

    def _encapsulation(self, client: Client) -> messages.Encapsulation:
        """Which overlays the pools ask for now, by the same rules as later."""
        graph = CalcGraph(settings.calculation(self.parameters, self.hostname, use_pod_cidrs=False))
        for pool in client.list(IPPool).items:
            graph.update(Update(pool.key, pool))
        graph.set_in_sync()
        return next(found for found in graph.flush() if isinstance(found, messages.Encapsulation))

    # ---- at work

    def _run_dataplane(self) -> None:
        assert self._dataplane is not None  # noqa: S101 - made just before this thread
        try:
            self._dataplane.run(self.stop)
        except RestartNeeded as error:
            self._dataplane_failure = error
            self.stop.set()
        except (DataplaneError, ValueError) as error:
            log.error("the dataplane gave up: %s", error)
            self._dataplane_failure = error
            self.stop.set()
        except BaseException as error:
            log.exception("the dataplane failed")
            self._dataplane_failure = error
            self.stop.set()
            raise

    def _dataplane_alive(self) -> None:
        if self._dataplane is not None:
            status = self._dataplane.status()
            told = [f"{failure.target} {failure.key}: {failure.reason}" for failure in status.failures[:3]]
            detail = ", ".join([status.note, *told] if status.note else told)
            self._health.report(_DATAPLANE, ready=status.started, detail=detail)

    def _wake_when_stopped(self, syncer: Syncer) -> None:
        """Who sets ``stop`` may be a signal's handler, which must not touch the others' locks."""
        self.stop.wait()
        syncer.stop()
        if self._dataplane is not None:
            self._dataplane.put([])

    def _follow(
        self, syncer: Syncer, graph: CalcGraph, dataplane: Dataplane, encapsulation: messages.Encapsulation
    ) -> None:
        settled = False
        while True:
            batch = syncer.take(_TAKE_S)
            if self.stop.is_set():
                self._raise_for_stop()
            # Let go of one after the other: at the start they are everything that there is.
            batch.updates.reverse()
            self.calculation.begin(len(batch.updates))
            while batch.updates:
                graph.update(batch.updates.pop())
            if syncer.in_sync:
                graph.set_in_sync()
            found = graph.flush()
            self.calculation.end()
            for message in found:
                self._watch(message, encapsulation)
            if found:
                dataplane.put(found)
            if syncer.in_sync and not settled:
                settled = True
                heap.settle()
            cut_off_s = syncer.cut_off_s()
            ready = syncer.in_sync and cut_off_s < _CUT_OFF_S
            detail = (
                f"the datastore has not answered for {cut_off_s:.0f} s" if cut_off_s >= _CUT_OFF_S else ""
            )
            self._health.report(_CALC, ready=ready, detail=detail)

    def _raise_for_stop(self) -> None:
        if isinstance(self._dataplane_failure, RestartNeeded):
            raise Stopped(RESTART_CODE, f"{self._dataplane_failure}; restarting")
        if self._dataplane_failure is not None:
            raise Stopped(_FAILED_CODE, f"the dataplane failed: {self._dataplane_failure}")
        raise Stopped(0, "stopped; what is programmed stays")

    def _watch(self, message: messages.Message, encapsulation: messages.Encapsulation) -> None:
        """Some changes reach programmed state everywhere; starting over is the safe way to take them."""
        if isinstance(message, messages.ConfigUpdate):
            try:
                now = self._weigh(message.global_params, message.host_params)
            except ParameterError as error:
                self._restart(str(error), _FAILED_CODE)
            changed = [name for name in self.parameters.differences(now) if name not in HARMLESS]
            if changed:
                self._restart(f"configuration changed: {', '.join(changed)}")
        elif isinstance(message, messages.Encapsulation) and message != encapsulation:
            self._restart("the pools' encapsulation changed")
        elif isinstance(message, messages.ReadyFlag) and not message.ready:
            raise Stopped(
                _FAILED_CODE, "the datastore is locked or was emptied; starting over to wait for it"
            )

    def _restart(self, reason: str, code: int = RESTART_CODE) -> NoReturn:
        log.warning("%s; restarting", reason)
        # Several changes often come together; one restart takes them all.
        self.stop.wait(_RESTART_DELAY_S)
        raise Stopped(code, reason)


def _hostname(environ: Mapping[str, str]) -> str:
    return (os.uname().nodename or environ.get("HOSTNAME", "")).lower()
