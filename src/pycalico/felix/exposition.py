"""``/metrics`` on PrometheusMetricsPort: Felix's own, and of the process and of Python as far as wished."""

from __future__ import annotations

import logging
import re

from prometheus_client import GCCollector, PlatformCollector, ProcessCollector, generate_latest
from prometheus_client.registry import Collector, CollectorRegistry

from pycalico.base import http
from pycalico.felix.parameters import Parameters
from pycalico.felix.wireguard_metrics import WireguardCollector

log = logging.getLogger(__name__)

#: The library ends the names of counters so; upstream's do not, and neither do our samples.
_ENDING = re.compile(rb"^# HELP ((?:felix|wireguard)_\w+)_total (.*)\n# TYPE \1_total counter$", re.MULTILINE)


def serve(parameters: Parameters, hostname: str, felix: Collector) -> None:
    """A busy port costs the metrics, not the node's policy."""
    registry = CollectorRegistry()
    registry.register(felix)
    families = ("", "V6")
    devices = [
        parameters[f"WireguardInterfaceName{v}"] for v in families if parameters[f"WireguardEnabled{v}"]
    ]
    if devices and parameters["PrometheusWireGuardMetricsEnabled"]:
        registry.register(WireguardCollector(hostname, devices))
    if parameters["PrometheusProcessMetricsEnabled"]:
        ProcessCollector(registry=registry)
    if parameters["PrometheusGoMetricsEnabled"]:
        # What the runtime of the language tells, which is Python's here.
        PlatformCollector(registry=registry)
        GCCollector(registry=registry)

    def answer(path: str) -> http.Answer:
        if path != "/metrics":
            return http.NOT_FOUND
        body = _ENDING.sub(rb"# HELP \1 \2\n# TYPE \1 counter", generate_latest(registry))
        return http.Answer(200, body, "text/plain; version=0.0.4; charset=utf-8")

    port = parameters["PrometheusMetricsPort"]
    try:
        http.Server(parameters["PrometheusMetricsHost"], port, answer, "metrics")
    except OSError as error:
        log.error(
            "cannot serve metrics on port %s: %s; set FELIX_PROMETHEUSMETRICSPORT", port, error.strerror
        )
