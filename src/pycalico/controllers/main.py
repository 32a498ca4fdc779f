"""calico-kube-controllers: starts, runs until the configuration changes or somebody ends it."""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Mapping, Sequence

from pycalico import CALICO_VERSION
from pycalico.base import log as logs
from pycalico.controllers import statusfile
from pycalico.controllers.clusterinformation import ensure_initialized
from pycalico.controllers.configfeed import ConfigFeed
from pycalico.controllers.environment import BadEnvironment, parse_environment
from pycalico.controllers.exposition import Exposition
from pycalico.controllers.health import Health, Probes
from pycalico.controllers.kubernetes import KubernetesCluster
from pycalico.controllers.nodecontroller import NodeController
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


class Program:
    """The parts that run, from the first configuration to the end."""

    def __init__(self, environ: Mapping[str, str], status_file: str) -> None:
        self._environ = environ
        self._environment = parse_environment(environ)
        self._datastore: DatastoreConfig = from_environment(environ)
        self._kdd = self._datastore.datastore_type == KUBERNETES
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

        feed = ConfigFeed(client, self._environment, self._configurations.put, kdd=self._kdd)
        feed.start()
        config = self._configurations.get()
        if config is None:
            return 0
        logs.configure("kube-controllers", config.log_level)
        with contextlib.ExitStack() as running:
            self._start(config, client, rest, running)
            if self._configurations.get() is not None:
                log.warning("configuration changed; restarting")
            else:
                log.info("Asked to end")
        return 0

    def _start(self, config: RunConfig, client: Client, rest: Rest, running: contextlib.ExitStack) -> None:
        exposition = Exposition(config.metrics_port)
        if config.node is not None:
            cluster = KubernetesCluster(rest)
            controller = NodeController(config.node, client, cluster, cluster)
            exposition.add(controller.metrics)
            controller.start()
            running.callback(controller.stop)
        for name in config.mirrors:
            if self._kdd:
                log.info("controller %s has nothing to do with the Kubernetes datastore", name)
        if config.health:
            health = Health(self._status, self._probes, kdd=self._kdd)
            health.start()
            running.callback(health.stop)
        exposition.start()
        running.callback(exposition.stop)
        log.info("Started")

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
        if not self._kdd:
            return Probes(open_client(self._datastore, self._environ), rest)
        # The same short-lived connection serves both questions.
        from pycalico.datastore.kubernetes.client import KubernetesClient  # noqa: PLC0415

        return Probes(KubernetesClient(rest), rest)


def run(arguments: Sequence[str], environ: Mapping[str, str] = os.environ) -> int:
    parser = argparse.ArgumentParser(prog="kube-controllers", description="Calico's controllers.")
    parser.add_argument("-version", "--version", action="store_true", help="Display version")
    parser.add_argument(
        "-status-file",
        "--status-file",
        default=statusfile.DEFAULT_FILE,
        help="File to write status information to",
    )
    options = parser.parse_args(arguments)
    if options.version:
        print(CALICO_VERSION)
        return 0
    logs.configure("kube-controllers", "info")
    try:
        program = Program(environ, options.status_file)
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
