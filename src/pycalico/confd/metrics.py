"""``/metrics`` of confd, where CONFD_PROMETHEUSMETRICSENABLED asks for it (port CONFD_PROMETHEUSMETRICSPORT, 9095)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

log = logging.getLogger(__name__)

DEFAULT_PORT = 9095


def serve(environ: Mapping[str, str], text: Callable[[], str]) -> int:
    """Serves what ``text`` gives from a thread of its own, if wanted; returns the port, or 0."""
    if environ.get("CONFD_PROMETHEUSMETRICSENABLED", "").lower() not in ("true", "1", "t", "yes", "y"):
        return 0
    host = environ.get("CONFD_PROMETHEUSMETRICSHOST", "")
    wanted = environ.get("CONFD_PROMETHEUSMETRICSPORT", "") or str(DEFAULT_PORT)
    if not (wanted.isascii() and wanted.isdigit() and int(wanted) <= 0xFFFF):
        log.error("CONFD_PROMETHEUSMETRICSPORT %r is no port number; there are no metrics", wanted)
        return 0
    from pycalico.base import http  # noqa: PLC0415 - most nodes have no use for a server

    def answer(path: str) -> http.Answer:
        if path != "/metrics":
            return http.NOT_FOUND
        return http.Answer(200, text().encode(), "text/plain; version=0.0.4; charset=utf-8")

    try:
        return http.Server(host, int(wanted), answer, "metrics").port
    except OSError as error:
        log.error("no metrics: cannot listen on %s:%s: %s", host, wanted, error.strerror)
        return 0
