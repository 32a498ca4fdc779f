"""``/metrics`` on PrometheusMetricsPort: Felix's own, and of the process and of Python as far as wished."""

from __future__ import annotations

import logging
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from prometheus_client import GCCollector, PlatformCollector, ProcessCollector, generate_latest
from prometheus_client.registry import Collector, CollectorRegistry

from pycalico.felix.parameters import Parameters

log = logging.getLogger(__name__)

_POLL_S = 5.0
#: The library ends the names of counters so; upstream's do not, and neither do our samples.
_ENDING = re.compile(rb"^# HELP (felix_\w+)_total (.*)\n# TYPE \1_total counter$", re.MULTILINE)


def serve(parameters: Parameters, felix: Collector) -> None:
    """A busy port costs the metrics, not the node's policy."""
    registry = CollectorRegistry()
    registry.register(felix)
    if parameters["PrometheusProcessMetricsEnabled"]:
        ProcessCollector(registry=registry)
    if parameters["PrometheusGoMetricsEnabled"]:
        # What the runtime of the language tells, which is Python's here.
        PlatformCollector(registry=registry)
        GCCollector(registry=registry)

    class Handler(BaseHTTPRequestHandler):
        timeout = 10

        def do_GET(self) -> None:
            body = _ENDING.sub(rb"# HELP \1 \2\n# TYPE \1 counter", generate_latest(registry))
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
            """Scrapes come every few seconds; they are not news."""

    port = parameters["PrometheusMetricsPort"]
    try:
        server = ThreadingHTTPServer((parameters["PrometheusMetricsHost"] or "0.0.0.0", port), Handler)
    except OSError as error:
        log.error(
            "cannot serve metrics on port %s: %s; set FELIX_PROMETHEUSMETRICSPORT", port, error.strerror
        )
        return
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(_POLL_S,), daemon=True, name="metrics").start()
