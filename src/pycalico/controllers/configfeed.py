"""Follows KubeControllersConfiguration ``default``: creates it, keeps its status true, tells of what changes."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

import msgspec

from pycalico.api.v3.kubecontrollersconfiguration import KubeControllersConfiguration
from pycalico.controllers.environment import Environment
from pycalico.controllers.runconfig import METRICS_PORT, NAME, RunConfig, default_configuration, merge
from pycalico.datastore.client import Client, EventType
from pycalico.datastore.errors import DatastoreError, NotFound

log = logging.getLogger(__name__)

_BACKOFF_S = 1.0


class ConfigFeed:
    """``changed`` is called from the feed's thread with every configuration that differs from the one before."""

    def __init__(
        self, client: Client, environment: Environment, changed: Callable[[RunConfig], None], *, kdd: bool
    ) -> None:
        self._client = client
        self._environment = environment
        self._changed = changed
        self._kdd = kdd
        self._current: RunConfig | None = None
        self._stopping = threading.Event()

    def start(self) -> None:
        threading.Thread(target=self._run, daemon=True, name="configuration").start()

    def stop(self) -> None:
        self._stopping.set()

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._follow()
            except DatastoreError as error:
                log.warning("unable to follow KubeControllersConfiguration(%s): %s", NAME, error)
            except Exception:
                log.exception("following KubeControllersConfiguration(%s) failed", NAME)
            self._stopping.wait(_BACKOFF_S)

    def _follow(self) -> None:
        """One list and one watch. An object that goes away is created again by the next."""
        self._take(self._get_or_create())
        found = self._client.list(KubeControllersConfiguration)
        for item in found.items:
            self._take(item)
        watch = self._client.watch(KubeControllersConfiguration, revision=found.revision)
        try:
            for event in watch:
                if self._stopping.is_set():
                    return
                if event.object is None:
                    continue
                if event.type is not EventType.DELETED:
                    self._take(event.object)
                elif event.object.metadata.name == NAME:
                    return
        finally:
            watch.close()

    def _get_or_create(self) -> KubeControllersConfiguration:
        try:
            return self._client.get(KubeControllersConfiguration, NAME)
        except NotFound:
            return self._client.create(default_configuration())

    def _take(self, found: KubeControllersConfiguration) -> None:
        if found.metadata.name != NAME:
            log.warning('unexpected KubeControllersConfiguration object name="%s"', found.metadata.name)
            return
        config, status = merge(self._environment, found.spec, kdd=self._kdd)
        port = found.spec.prometheus_metrics_port
        if found.status != status or port is None:
            spec = msgspec.structs.replace(
                found.spec, prometheus_metrics_port=METRICS_PORT if port is None else port
            )
            self._client.update(msgspec.structs.replace(found, spec=spec, status=status))
        if config != self._current:
            self._current = config
            self._changed(config)
