"""``calico-node -monitor-addresses``: notices when the node's address changes, and says so in the datastore."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Mapping

from pycalico.api.v3.node import Node
from pycalico.base import log as base_log
from pycalico.bgp import values
from pycalico.datastore.client import Client
from pycalico.datastore.errors import Conflict, DatastoreError
from pycalico.datastore.open import open_client
from pycalico.node import interfaces, kubernetes, nodename
from pycalico.node.autodetect import Surroundings
from pycalico.node.fatal import Fatal

log = logging.getLogger(__name__)

DEFAULT_INTERVAL_S = 60.0
#: An address that has just vanished may be back in a moment (a DHCP renewal, a link bounced).
_CONFIRM_S = 2.0
_WRITE_TRIES = 3


def begin(environ: Mapping[str, str] = os.environ) -> float:
    """Seconds between two looks; says so in the log."""
    base_log.configure("monitor-addresses")
    interval_s = interval_of(environ)
    log.info("Looking at the node's addresses when they change, and every %g s", interval_s)
    return interval_s


def check(environ: Mapping[str, str] = os.environ) -> float | None:
    """One look, and what follows from it; None when there is no datastore to speak to at all."""
    base_log.configure("monitor-addresses")
    name = nodename.determine(environ)
    try:
        client = open_client(environ=environ)
    except DatastoreError as error:
        log.critical("%s", error)
        return None
    try:
        if look(client, name, environ, write=False):
            time.sleep(_CONFIRM_S)
            if look(client, name, environ, write=True):
                log.info("The node's addresses have been updated")
    except (Fatal, DatastoreError, interfaces.InterfacesUnknown) as error:
        log.warning("%s", error)
    return 0.0


def interval_of(environ: Mapping[str, str]) -> float:
    """AUTODETECT_POLL_INTERVAL in seconds; anything that is no positive duration gives 60 s."""
    text = environ.get("AUTODETECT_POLL_INTERVAL", "")
    seconds = values.duration_s(text) if text else DEFAULT_INTERVAL_S
    if not seconds:
        log.error(
            "error parsing node IP auto-detect polling interval %s: using %.0f s", text, DEFAULT_INTERVAL_S
        )
        return DEFAULT_INTERVAL_S
    return seconds


def look(client: Client, name: str, environ: Mapping[str, str], *, write: bool) -> bool:
    """Whether the Node's addresses differ from what they should be; with ``write`` also puts that right.

    Raises Fatal, DatastoreError, InterfacesUnknown.
    """
    from pycalico.node import startup  # noqa: PLC0415 - it is large, and this runs once a minute

    internal_ips = _internal_ips(name, environ)
    for _ in range(_WRITE_TRIES):
        around = Surroundings(interfaces.read(), interfaces.source_towards, internal_ips)
        node = client.get(Node, name)
        if not startup.settle_addresses(client, node, environ, around):
            return False
        if not write:
            return True
        try:
            client.update(node)
        except Conflict:
            continue
        return True
    raise Fatal(f"Node {name} is being changed by others all the time: its address is not updated yet")


def _internal_ips(name: str, environ: Mapping[str, str]) -> list[str] | None:
    methods = (environ.get("IP_AUTODETECTION_METHOD", ""), environ.get("IP6_AUTODETECTION_METHOD", ""))
    if not any(method.startswith("kubernetes-internal-ip") for method in methods):
        return None
    rest = kubernetes.connect(environ)
    if rest is None:
        return None
    try:
        reference = environ.get("CALICO_K8S_NODE_REF", "") or name
        return kubernetes.internal_ips(kubernetes.node(rest, reference))
    finally:
        rest.close()
