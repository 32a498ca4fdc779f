"""``calico-node -monitor-token``: a fresh token for the CNI plugin, written before the old one ends.

The plugin runs outside any pod and has no token of its own; it reads a kubeconfig beside its configuration.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Mapping
from pathlib import Path

from pycalico.base import log as base_log
from pycalico.datastore.config import KUBERNETES, from_environment
from pycalico.datastore.errors import DatastoreError
from pycalico.datastore.kubernetes import plugintoken
from pycalico.datastore.kubernetes.plugintoken import Token
from pycalico.datastore.kubernetes.rest import Rest
from pycalico.datastore.open import kubernetes_access

log = logging.getLogger(__name__)

_NAME = "etc/cni/net.d/calico-kubeconfig"
_LEAST_WAIT_S = 5.0


def renew(environ: Mapping[str, str] = os.environ) -> float | None:
    """Writes a fresh token; returns in how many seconds to do so again, or None without a Kubernetes API."""
    base_log.configure("cni-config-monitor")
    try:
        config = from_environment({**environ, "DATASTORE_TYPE": KUBERNETES, "CALICO_DATASTORE_TYPE": ""})
        access = kubernetes_access(config, environ)
    except DatastoreError as error:
        log.critical("No Kubernetes API to ask for tokens: %s", error)
        return None
    path = kubeconfig_path()
    try:
        account, namespace = plugintoken.account_of(environ), plugintoken.namespace_of(environ)
        token = plugintoken.request(Rest(access), namespace, account)
        plugintoken.write(path, access, token.text)
        log.info("Wrote updated CNI kubeconfig file", extra={"fields": {"path": str(path)}})
        return next_wait_s(token, time.time())
    except (DatastoreError, OSError) as error:
        log.error("Failed to update the CNI token: %s; trying again", error)
        return _LEAST_WAIT_S


def kubeconfig_path(root: Path = Path("/")) -> Path:
    """In a container the host's directories are under /host; on a node without an image there is no such directory."""
    mounted = root / "host" / _NAME
    return mounted if mounted.parent.is_dir() else root / _NAME


def next_wait_s(token: Token, now: float) -> float:
    """A quarter of what is left, so that several failures fit before the end."""
    return max(_LEAST_WAIT_S, (token.expires - now) / 4)
