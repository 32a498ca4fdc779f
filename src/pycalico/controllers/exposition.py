"""Metrics over HTTP: ``/metrics``, and nothing else."""

from __future__ import annotations

import logging
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

from pycalico.controllers.ipammetrics import RECLAMATIONS

log = logging.getLogger(__name__)

#: A client that does not get on with its request must not hold a thread.
_CLIENT_S = 10.0


class Exposition:
    """Serves on all interfaces; ``port`` 0 serves nothing."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._registry = CollectorRegistry()
        GCCollector(self._registry)
        PlatformCollector(self._registry)
        ProcessCollector(registry=self._registry)
        self._server: ThreadingHTTPServer | None = None

    def add(self, collector: Collector) -> None:
        self._registry.register(collector)

    def start(self) -> None:
        """A port that cannot be had is reported; the controllers matter more than their figures."""
        if self._port == 0:
            return
        try:
            self._server = ThreadingHTTPServer(("", self._port), _handler(self._registry))
        except OSError as error:
            log.warning("cannot serve metrics on port %d: %s", self._port, error.strerror or error)
            return
        threading.Thread(target=self._server.serve_forever, daemon=True, name="metrics").start()

    def stop(self) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()


def render(registry: CollectorRegistry) -> bytes:
    """The text form. The library would announce the counter as ``..._total``, a name that upstream does not use."""
    text = generate_latest(registry)
    for word in (b"HELP", b"TYPE"):
        line = b"# " + word + b" " + RECLAMATIONS.encode()
        text = text.replace(line + b"_total ", line + b" ")
    return text


def _handler(registry: CollectorRegistry) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = _CLIENT_S

        def do_GET(self) -> None:
            found = self.path.split("?", maxsplit=1)[0] == "/metrics"
            body = render(registry) if found else b"404 page not found\n"
            self.send_response(200 if found else 404)
            self.send_header("Content-Type", CONTENT_TYPE_LATEST if found else "text/plain; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
            log.debug(format, *args)

    return Handler
