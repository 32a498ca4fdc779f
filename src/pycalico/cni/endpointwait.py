"""Waiting until Felix has programmed a new endpoint's policy."""

from __future__ import annotations

import logging
import time
from pathlib import Path

from pycalico.cni.errors import CNIError

log = logging.getLogger(__name__)
_POLL_S = 0.05


def status_file(folder: str, orchestrator: str, workload: str, endpoint: str) -> Path:
    """``k8s default%2Fpod8 eth0``: parts path-escaped, joined by blanks."""
    from urllib.parse import quote  # noqa: PLC0415 - 11 of an ADD's 210 million instructions, and seldom asked for

    return Path(folder) / " ".join(quote(part, safe="$&+:=@") for part in (orchestrator, workload, endpoint))


def wait(path: Path, seconds: int) -> None:
    """Returns when Felix has written ``path``, or, with a warning, when the time is up."""
    if seconds < 0:
        raise CNIError(f"invalid pod startup delay of {seconds}")
    deadline = time.monotonic() + seconds
    while not path.exists():
        if time.monotonic() >= deadline:
            log.warning("Error waiting for endpoint to become ready. Unblocking pod creation...")
            return
        time.sleep(_POLL_S)
