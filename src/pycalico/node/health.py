"""Health commands: one line and exit 1, or silence and exit 0. What they ask and say is v3.28.1's (observed)."""

from __future__ import annotations

import http.client
import logging
import os
import subprocess
import time
from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path

from pycalico.base import log as base_log
from pycalico.bgp import birdctl
from pycalico.node.nodename import FILE as NODENAME_FILE

log = logging.getLogger(__name__)

_SERVICES = "/etc/service/enabled"
#: A node this young must have all its sessions up; later one is enough, for neighbours come and go.
_FELIX_TIMEOUT_S = 8.0


class Unhealthy(Exception):
    """Why, as the line to print after ``calico/node is not ready: ``."""


def run(checks: set[str], threshold_s: float) -> int:
    """Runs the checks side by side; the first failure is the answer."""
    base_log.configure("", "info")
    actions: dict[str, Callable[[], None]] = {
        "felix-live": lambda: felix("liveness", "Felix is not live"),
        "felix-ready": lambda: felix("readiness", "felix is not ready"),
        "bird-live": lambda: bird_live(4),
        "bird6-live": lambda: bird_live(6),
        "bird-ready": lambda: bird_ready(4, threshold_s),
        "bird6-ready": lambda: bird_ready(6, threshold_s),
    }
    pool = ThreadPoolExecutor(max_workers=len(checks))
    waiting: set[Future[None]] = {pool.submit(actions[name]) for name in checks}
    deadline = time.monotonic() + max(threshold_s, 0.1)
    try:
        while waiting:
            done, waiting = wait(waiting, max(0.0, deadline - time.monotonic()), FIRST_COMPLETED)
            if not done:
                print("calico/node is not ready: context deadline exceeded", flush=True)
                os._exit(1)
            for future in done:
                error = future.exception()
                if error:
                    print(f"calico/node is not ready: {error}", flush=True)
                    # A check that hangs must not hold up the answer of the one that failed.
                    os._exit(1)
    finally:
        pool.shutdown(wait=False)
    return 0


def felix(probe: str, failure: str, environ: Mapping[str, str] = os.environ) -> None:
    """Raises Unhealthy. The port must be a number."""
    host = environ.get("FELIX_HEALTHHOST", "") or "localhost"
    text = environ.get("FELIX_HEALTHPORT", "") or "9099"
    if not (text.isascii() and text.isdigit()):
        raise Unhealthy(f"{failure}: FELIX_HEALTHPORT {text!r} is no port number")
    port = int(text)
    connection = http.client.HTTPConnection(host, port, timeout=_FELIX_TIMEOUT_S)
    try:
        connection.request("GET", f"/{probe}")
        code = connection.getresponse().status
    except OSError as error:
        shown = "127.0.0.1" if host == "localhost" else host
        cause = os.strerror(error.errno).lower() if error.errno else str(error)
        raise Unhealthy(
            f'{failure}: Get "http://{host}:{port}/{probe}": dial tcp {shown}:{port}: connect: {cause}'
        ) from error
    except http.client.HTTPException as error:
        raise Unhealthy(f"{failure}: Get http://{host}:{port}/{probe}: {error}") from error
    finally:
        connection.close()
    if not 200 <= code < 400:
        raise Unhealthy(f"{failure}: {probe} probe reporting {code}")


def bird_live(family: int) -> None:
    """Both confd and BIRD run under the supervisor, and BIRD answers. Raises Unhealthy."""
    bird = "bird" if family == 4 else "bird6"
    for service in ("confd", bird):
        _supervised(service, f"{bird}/confd is not live")
    try:
        answer = birdctl.ask(family, "show status")
    except birdctl.BirdError as error:
        raise Unhealthy(f"{bird} is not live: {error}") from error
    if not answer[0][5:].startswith("BIRD"):
        raise Unhealthy(f"bad response from {bird}: {answer[0]}")


def _supervised(service: str, failure: str) -> None:
    try:
        run = subprocess.run(
            ["sv", "status", f"{_SERVICES}/{service}"],
            capture_output=True,
            text=True,
            timeout=_FELIX_TIMEOUT_S,
            check=False,
        )
        said = run.stdout or run.stderr
    except (OSError, subprocess.TimeoutExpired) as error:
        said = str(error)
    if not said.startswith("run"):
        raise Unhealthy(f"{failure}: Service {service} is not running. Output << {said.strip()} >>")


def bird_ready(family: int, threshold_s: float, nodename: Path | None = None) -> None:
    """Sessions are up: all of them while the node is younger than the threshold, then at least one."""
    prefix = "BIRD is not ready: " if family == 4 else "BIRD6 is not ready: "
    path = nodename or NODENAME_FILE
    try:
        young = time.time() - path.stat().st_mtime < threshold_s
    except OSError as error:
        cause = os.strerror(error.errno or 0).lower()
        raise Unhealthy(f"{prefix}Failed to stat() nodename file: stat {path}: {cause}") from error
    try:
        peers = birdctl.peers(family)
        recovering = birdctl.status(family).recovering
    except birdctl.BirdError as error:
        raise Unhealthy(f"{prefix}Error querying BIRD: {error}") from error
    down = [peer for peer in peers if not peer.info.startswith("Established")]
    up = len(peers) - len(down)
    log.info("Number of node(s) with BGP peering established = %d", up)
    if not peers or (not young and up):
        return
    if down:
        # What BIRD says of each beside the address: a blocked port and a wrong AS look alike from outside.
        raise Unhealthy(f"{prefix}BGP not established with {','.join(peer.address for peer in down)}")
    if recovering:
        raise Unhealthy(f"{prefix}graceful restart in progress")
