"""``/metrics`` of confd, where CONFD_PROMETHEUSMETRICSENABLED asks for it (port CONFD_PROMETHEUSMETRICSPORT, 9095)."""

from __future__ import annotations

import logging
import threading
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
    # Most nodes have no use for a server, and its modules take memory.
    from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer  # noqa: PLC0415

    class Handler(BaseHTTPRequestHandler):
        timeout = 10

        def do_GET(self) -> None:
            if self.path.split("?")[0] != "/metrics":
                self.send_error(404)
                return
            body = text().encode()
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
            """Scrapes come every few seconds; they are not news."""

    try:
        server = ThreadingHTTPServer((host, int(wanted)), Handler)
    except OSError as error:
        log.error("no metrics: cannot listen on %s:%s: %s", host, wanted, error.strerror)
        return 0
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True, name="metrics").start()
    return int(server.server_address[1])
