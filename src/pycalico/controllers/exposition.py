"""Metrics over HTTP: ``/metrics``, and nothing else."""

from __future__ import annotations

import logging

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

from pycalico.base import http
from pycalico.controllers.ipammetrics import RECLAMATIONS

log = logging.getLogger(__name__)


class Exposition:
    """Serves on all interfaces; ``port`` 0 serves nothing."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._registry = CollectorRegistry()
        GCCollector(self._registry)
        PlatformCollector(self._registry)
        ProcessCollector(registry=self._registry)
        self._server: http.Server | None = None

    def add(self, collector: Collector) -> None:
        self._registry.register(collector)

    def start(self) -> None:
        """A port that cannot be had is reported; the controllers matter more than their figures."""
        if self._port == 0:
            return
        try:
            self._server = http.Server("", self._port, self._answer, "metrics")
        except OSError as error:
            log.warning("cannot serve metrics on port %d: %s", self._port, error.strerror or error)

    def stop(self) -> None:
        if self._server is not None:
            self._server.close()

    def _answer(self, path: str) -> http.Answer:
        if path != "/metrics":
            return http.NOT_FOUND
        return http.Answer(200, render(self._registry), CONTENT_TYPE_LATEST)


def render(registry: CollectorRegistry) -> bytes:
    """The text form. The library would announce the counter as ``..._total``, a name that upstream does not use."""
    text = generate_latest(registry)
    for word in (b"HELP", b"TYPE"):
        line = b"# " + word + b" " + RECLAMATIONS.encode()
        text = text.replace(line + b"_total ", line + b" ")
    return text
