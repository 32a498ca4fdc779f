"""What start-up and shutdown need of Kubernetes itself."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping

import msgspec

from pycalico.api.meta import ObjectMeta
from pycalico.datastore.config import KUBERNETES, from_environment
from pycalico.datastore.errors import DatastoreError, Unauthorized, Unavailable
from pycalico.datastore.kubernetes import core
from pycalico.datastore.kubernetes.rest import STRATEGIC_PATCH, Rest, StatusError, path_of
from pycalico.datastore.open import kubernetes_access

log = logging.getLogger(__name__)

_READ_S = 2.0
_RETRY_S = 0.1


class _ConfigMap(msgspec.Struct):
    metadata: ObjectMeta = msgspec.field(default_factory=ObjectMeta)
    data: dict[str, str] | None = None


def connect(environ: Mapping[str, str]) -> Rest | None:
    """None when no credentials for an API are to be found. Calls end after 2 s."""
    try:
        config = from_environment({**environ, "DATASTORE_TYPE": KUBERNETES, "CALICO_DATASTORE_TYPE": ""})
        return Rest(kubernetes_access(config, environ), read_s=_READ_S)
    except DatastoreError as error:
        log.info("Not running on Kubernetes (%s)", error)
        return None


def config_map(rest: Rest, name: str) -> dict[str, str] | None:
    """Of kube-system; None when it is not there or not ours to read. Raises DatastoreError."""
    try:
        found = rest.get(path_of("v1", "configmaps", "kube-system", name), _ConfigMap)
    except Unauthorized as error:
        log.info("Not allowed to read ConfigMap %s, taken as absent (%s)", name, error)
        return None
    except StatusError as error:
        if error.code == 404:
            return None
        raise
    return found.data or {}


def node(rest: Rest, name: str) -> core.Node:
    """Raises DatastoreError."""
    return rest.get(path_of("v1", "nodes", name=name), core.Node)


def internal_ips(found: core.Node) -> list[str]:
    return [item.address for item in found.status.addresses or [] if item.type == "InternalIP"]


def set_network_unavailable(
    rest: Rest, name: str, *, unavailable: bool, reason: str, message: str, within_s: float | None
) -> None:
    """Patches the node's condition, again and again for ``within_s`` (None: for ever). Raises DatastoreError."""
    deadline = None if within_s is None else time.monotonic() + within_s
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    condition = {
        "type": "NetworkUnavailable",
        "status": "True" if unavailable else "False",
        "reason": reason,
        "message": message,
        "lastTransitionTime": now,
        "lastHeartbeatTime": now,
    }
    body = {"status": {"conditions": [condition]}}
    while True:
        try:
            rest.request(
                "PATCH",
                path_of("v1", "nodes", name=name, sub="status"),
                body=body,
                content_type=STRATEGIC_PATCH,
            )
            return
        except (Unavailable, StatusError, Unauthorized) as error:
            if deadline is not None and time.monotonic() >= deadline:
                raise
            log.warning("Failed to set NetworkUnavailable on %s: %s; trying again", name, error)
            time.sleep(_RETRY_S)
