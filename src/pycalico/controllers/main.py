"""calico-kube-controllers: starts, runs until the configuration changes or somebody ends it."""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import cast

from pycalico import CALICO_VERSION
from pycalico.api.v3.kubecontrollersconfiguration import KubeControllersConfiguration
from pycalico.base import goflags
from pycalico.base import log as logs
from pycalico.controllers import statusfile
from pycalico.controllers.clusterinformation import ensure_initialized
from pycalico.controllers.configfeed import ConfigFeed
from pycalico.controllers.election import Election
from pycalico.controllers.environment import BadEnvironment, Environment, parse_environment
from pycalico.controllers.gate import GatedClient
from pycalico.controllers.health import Health, Probes
from pycalico.controllers.leakreport import LeakFile
from pycalico.controllers.parts import Parts
from pycalico.controllers.runconfig import NAME as CONFIGURATION
from pycalico.controllers.runconfig import RunConfig
from pycalico.controllers.statusfile import StatusFile
from pycalico.datastore.client import Client
from pycalico.datastore.config import KUBERNETES, DatastoreConfig, from_environment
from pycalico.datastore.errors import DatastoreError, Invalid
from pycalico.datastore.kubernetes.rest import Rest
from pycalico.datastore.open import kubernetes_access, open_client

log = logging.getLogger(__name__)

_STARTUP_S = 60.0
_STARTUP_RETRY_S = 5.0
_AGENT = "calico-kube-controllers"
#: A renewal that takes longer than this is worth another try.
_ELECTION_READ_S = 3.0
_LOOK_S = 0.2
_FLAGS = (
    goflags.Flag("status-file", "File to write status information to", "string", statusfile.DEFAULT_FILE),
    goflags.Flag("version", "Display version"),
)
_OWN_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


class Program:
    """The parts that run, from the first configuration to the end."""

    def __init__(self, environ: Mapping[str, str], status_file: str) -> None:
        self._environ = environ
        self._environment = parse_environment(environ)
        self._datastore: DatastoreConfig = from_environment(environ)
        self._kdd = self._datastore.datastore_type == KUBERNETES
        self._status_file = status_file
        self._status = StatusFile(status_file)
        self._configurations: queue.SimpleQueue[RunConfig | None] = queue.SimpleQueue()
        self._stopping = threading.Event()

    def stop(self) -> None:
        """May be called from a signal handler."""
        self._stopping.set()
        self._configurations.put(None)

    def run(self) -> int:
        """The exit code: 0 after a changed configuration and after ``stop``. Raises DatastoreError at the start."""
        client = open_client(self._datastore, self._environ)
        rest = self._rest()
        self._status.set("Startup", ready=False, reason="initialized to false")
        if not self._initialize(client):
            return 0
        self._status.set("Startup", ready=True)
        with contextlib.ExitStack() as running:
            if health_wanted(client, self._environment):
                health = Health(self._status, self._probes, kdd=self._kdd)
                health.start()
                running.callback(health.stop)
            may_write = self._lead(running)
            gated = cast("Client", GatedClient(client, may_write))
            feed = ConfigFeed(gated, self._environment, self._configurations.put, kdd=self._kdd)
            feed.start()
            running.callback(feed.stop)
            config = self._configurations.get()
            if config is None:
                return 0
            logs.configure("kube-controllers", config.log_level)
            leaks = LeakFile(self._status_file)
            parts = Parts(config, client, gated, rest, may_write, leaks.write)
            parts.start(running)
            if self._configurations.get() is not None:
                log.warning("configuration changed; restarting")
            else:
                log.info("Asked to end")
        return 0

    def _lead(self, running: contextlib.ExitStack) -> Callable[[], bool]:
        """Waits until this replica leads, or is to end; returns the question whether it still does."""
        if self._environment.leader_election is False:
            return lambda: True
        election = Election(self._rest(_ELECTION_READ_S), lease_namespace(self._environ), self._lost)
        election.start()
        running.callback(election.stop)
        while not election.wait(_LOOK_S) and not self._stopping.is_set():
            pass
        return election.may_write

    def _lost(self) -> None:
        log.warning("another replica leads now; ending")
        self.stop()

    def _initialize(self, client: Client) -> bool:
        """False when asked to end meanwhile."""
        deadline_s = time.monotonic() + _STARTUP_S
        while not self._stopping.is_set():
            try:
                ensure_initialized(client, kdd=self._kdd)
            except DatastoreError as error:
                reason = f"Error initializing datastore: {error}"
                self._status.set("Startup", ready=False, reason=reason)
                if time.monotonic() + _STARTUP_RETRY_S > deadline_s:
                    raise
                log.warning("Failed to initialize datastore: %s; trying again", error)
                self._stopping.wait(_STARTUP_RETRY_S)
            else:
                return True
        return False

    def _rest(self, read_s: float = 30.0) -> Rest:
        return Rest(kubernetes_access(self._datastore, self._environ), read_s=read_s, agent=_AGENT)

    def _probes(self, timeout_s: float) -> Probes:
        rest = self._rest(timeout_s)
        # Loaded by those who have that datastore.
        if not self._kdd:
            from pycalico.datastore.etcd.client import EtcdClient  # noqa: PLC0415

            return Probes(EtcdClient(self._datastore, read_s=timeout_s), rest)
        from pycalico.datastore.kubernetes.client import KubernetesClient  # noqa: PLC0415

        # The same short-lived connection serves both questions.
        return Probes(KubernetesClient(rest), rest)


def health_wanted(client: Client, environment: Environment) -> bool:
    """The environment's word, else the configuration's; a standby has to know it before it may write one."""
    if environment.health is not None:
        return environment.health
    try:
        return client.get(KubeControllersConfiguration, CONFIGURATION).spec.health_checks != "Disabled"
    except DatastoreError:
        return True


def lease_namespace(environ: Mapping[str, str]) -> str:
    """Where the replicas meet: their own namespace, or kube-system outside of pods."""
    if environ.get("POD_NAMESPACE"):
        return environ["POD_NAMESPACE"]
    try:
        return _OWN_NAMESPACE.read_text().strip() or "kube-system"
    except OSError:
        return "kube-system"


def run(arguments: Sequence[str], environ: Mapping[str, str] = os.environ) -> int:
    usage = f"Usage of kube-controllers:\n{goflags.usage(_FLAGS)}"
    try:
        options = goflags.parse(_FLAGS, arguments)
    except goflags.Help:
        print(usage, file=sys.stderr)
        return 0
    except goflags.BadFlag as error:
        print(f"{error}\n{usage}", file=sys.stderr)
        return 2
    if "version" in options.switches:
        print(CALICO_VERSION)
        return 0
    logs.configure("kube-controllers", "info")
    try:
        program = Program(environ, options.texts["status-file"])
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: program.stop())
        return program.run()
    except (BadEnvironment, Invalid) as error:
        log.critical("%s", error)
    except DatastoreError as error:
        log.critical("Failed to initialize Calico datastore: %s", error)
    return 1


def main() -> None:
    sys.exit(run(sys.argv[1:]))
