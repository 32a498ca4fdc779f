"""What has to be there before a pod can be connected: the node's name, the datastore, and what the conflist names.

A node that starts lacks some of it for a while. A bounded wait here is kinder than a storm of sandboxes that fail; after
it the runtime is asked to try again (code 11).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from pycalico.api.v3.clusterinformation import ClusterInformation
from pycalico.cni.errors import NOT_AVAILABLE, TRY_AGAIN, CNIError
from pycalico.cni.invocation import Invocation
from pycalico.cni.netconf import NetConf
from pycalico.datastore.errors import DatastoreError, Unauthorized

log = logging.getLogger(__name__)

T = TypeVar("T")

#: A node's calico-node writes its name within seconds of its start.
NODENAME_PATIENCE_S = 15.0
#: How long a datastore that is away is waited for. DEL has a way out, so it is the shorter one.
ADD_PATIENCE_S = 15.0
DEL_PATIENCE_S = 3.0
_LOOK_S = 0.2
_AGAIN_S = 1.0
_GATE_EVERY_S = 5.0
_GATE_S = 30.0


def await_nodename(config: NetConf) -> None:
    """Without the file calico-node has not started on this node. Raises CNIError."""
    deadline = time.monotonic() + NODENAME_PATIENCE_S
    while not _has_nodename(config):
        if time.monotonic() >= deadline:
            raise CNIError(_no_nodename(config), TRY_AGAIN)
        time.sleep(_LOOK_S)


def _has_nodename(config: NetConf) -> bool:
    return config.nodename_file_optional or Path(config.nodename_file).exists()


def _no_nodename(config: NetConf) -> str:
    return (
        f"stat {config.nodename_file}: no such file or directory: check that the calico/node container is "
        "running and has mounted /var/lib/calico/"
    )


def await_datastore(call: Invocation, patience_s: float) -> None:
    """Raises CNIError while the datastore is locked, not initialised, or away for longer than ``patience_s``.

    Credentials that are refused are read once more: the kubelet and calico-node replace them while plugins run.
    """
    information = patiently(patience_s, lambda: _information(call))
    if information.spec.datastore_ready is False:
        raise CNIError("Calico is currently not ready to process requests")


def _information(call: Invocation) -> ClusterInformation:
    for again in (True, False):
        try:
            return call.client.get(ClusterInformation, "default")
        except DatastoreError as error:
            if not again or not isinstance(error, Unauthorized):
                raise CNIError.of(error, "error getting ClusterInformation: ") from error
            log.info("%s; reading the credentials once more", error)
            call.renew()
    raise AssertionError


def patiently(patience_s: float, work: Callable[[], T]) -> T:
    """Repeats what asks to be tried again (code 11) for so long; then raises its CNIError."""
    deadline = time.monotonic() + patience_s
    while True:
        try:
            return work()
        except CNIError as error:
            if error.code != TRY_AGAIN or time.monotonic() + _AGAIN_S >= deadline:
                raise
            log.info("%s; trying again", error)
            time.sleep(_AGAIN_S)


def await_gates(config: NetConf) -> None:
    """``readiness_gates``: URLs that have to answer with 2xx or 3xx. Raises CNIError."""
    for url in config.readiness_gates:
        if not url.startswith(("http://", "https://")):
            raise CNIError(f'invalid URL set for ReadinessGates:{url} Error:parse "{url}": {_flaw(url)}')
        deadline = time.monotonic() + _GATE_S
        while not _answers(url):
            if time.monotonic() + _GATE_EVERY_S > deadline:
                raise CNIError(f"context deadline exceeded: {url} is not ready", TRY_AGAIN)
            time.sleep(_GATE_EVERY_S)


def _flaw(url: str) -> str:
    """What Go says is wrong with it."""
    if not url:
        return "empty url"
    return "missing protocol scheme" if url.startswith(":") else "invalid URI for request"


def _answers(url: str) -> bool:
    import urllib.request  # noqa: PLC0415 - few conflists have gates

    try:
        with urllib.request.urlopen(url, timeout=_GATE_EVERY_S) as answer:  # noqa: S310 - checked by the caller
            return bool(200 <= answer.status < 400)
    except OSError as error:
        log.warning("Endpoint may not be ready:%s", error)
        return False


def status(call: Invocation) -> None:
    """STATUS: whether an ADD could be served now. Raises CNIError with code 50."""
    if not _has_nodename(call.config):
        raise CNIError(_no_nodename(call.config), NOT_AVAILABLE)
    try:
        await_datastore(call, 0.0)
    except CNIError as error:
        raise CNIError(str(error), NOT_AVAILABLE) from error
