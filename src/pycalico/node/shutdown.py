"""``calico-node -shutdown``: the preStop hook. Notes when, and tells the cluster."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Mapping
from pathlib import Path

from pycalico.base import log as base_log
from pycalico.node import nodename

log = logging.getLogger(__name__)


def timestamp_file(environ: Mapping[str, str]) -> Path:
    return Path(environ.get("CALICO_SHUTDOWN_TIMESTAMP_FILE", "") or "/var/lib/calico/shutdownTS")


def run(environ: Mapping[str, str] = os.environ) -> int:
    """Tries to reach Kubernetes until it is killed: the kubelet bounds a hook's time."""
    base_log.configure("shutdown")
    path = timestamp_file(environ)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()))
        path.chmod(0o644)
    except OSError as error:
        log.error("Unable to save the shutdown time to %s: %s", path, error)
        return 1
    if environ.get("CALICO_NETWORKING_BACKEND") == "none":
        return 0
    from pycalico.node import kubernetes  # noqa: PLC0415 - start-up imports this module for the file alone

    rest = kubernetes.connect(environ)
    if rest is None:
        return 0
    name = environ.get("CALICO_K8S_NODE_REF", "") or nodename.determine(environ)
    kubernetes.set_network_unavailable(
        rest,
        name,
        unavailable=True,
        reason="CalicoIsDown",
        message="Calico is shutting down on this node",
        within_s=None,
    )
    return 0
