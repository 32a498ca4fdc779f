"""``calico-node -startup``: registers this node and sees to the cluster's defaults, then ends.

It never takes anything off a Node that the environment does not say; a problem that leaves the node useless ends
it with 1, and the container starts again.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Mapping
from pathlib import Path

from pycalico.api.meta import ObjectMeta
from pycalico.api.v3.node import Node, NodeBGPSpec, OrchRef
from pycalico.base import log as base_log
from pycalico.bgp import values
from pycalico.datastore.client import Client
from pycalico.datastore.config import ETCD, from_environment
from pycalico.datastore.errors import AlreadyExists, Conflict, DatastoreError, NotFound, Unauthorized
from pycalico.datastore.kubernetes.rest import Rest
from pycalico.datastore.open import open_client
from pycalico.node import addresses, defaults, interfaces, kubernetes, nodename, pools, shutdown
from pycalico.node.autodetect import Surroundings
from pycalico.node.fatal import Fatal

log = logging.getLogger(__name__)

_RETRY_S = 1.0
_WRITE_TRIES = 5
_DIRECTORIES = ("/var/run/calico", "/var/lib/calico", "/var/log/calico")


def run(environ: Mapping[str, str] = os.environ) -> int:
    level = environ.get("CALICO_STARTUP_LOGLEVEL", "") or "info"
    base_log.configure("startup", level)
    log.info("Early log level set to %s", level.lower())
    try:
        config = from_environment(environ)
        startup(
            open_client(config, environ),
            kubernetes.connect(environ),
            environ,
            etcd=config.datastore_type == ETCD,
        )
    except (Fatal, DatastoreError, OSError, interfaces.InterfacesUnknown) as error:
        log.error("%s", error)
        log.warning("Terminating")
        return 1
    return 0


def startup(client: Client, rest: Rest | None, environ: Mapping[str, str], *, etcd: bool = False) -> None:
    """The steps, in upstream's order. Raises Fatal, DatastoreError, OSError."""
    name = nodename.determine(environ)
    if not name:
        raise Fatal("This node has no name: set NODENAME")
    _wait_for(client, environ)
    kubeadm = rancher = None
    internal_ips = None
    kubernetes_name = environ.get("CALICO_K8S_NODE_REF", "") or name
    if rest is not None:
        kubeadm = kubernetes.config_map(rest, "kubeadm-config")
        rancher = kubernetes.config_map(rest, "full-cluster-state")
        internal_ips = kubernetes.internal_ips(kubernetes.node(rest, kubernetes_name))
    around = Surroundings(interfaces.read(), interfaces.source_towards, internal_ips)
    wanted_pools = pools.wanted(environ, kubeadm)
    _write_node(client, name, environ, around)
    _make_directories(environ)
    local = [address.network for item in around.interfaces for address in item.addresses]
    pools.ensure(client, wanted_pools, local, ipv6=_ipv6(environ))
    defaults.ensure_cluster_information(
        client,
        lambda existing: defaults.cluster_type(
            existing, environ, kubeadm=kubeadm is not None, rancher=rancher is not None, kdd=not etcd
        ),
    )
    defaults.ensure_felix_defaults(client, name, etcd=etcd)
    nodename.write(name, environ)
    log.info("Using node name: %s", name)
    if environ.get("CALICO_NETWORKING_BACKEND") != "none" and rest is not None:
        try:
            kubernetes.set_network_unavailable(
                rest,
                kubernetes_name,
                unavailable=False,
                reason="CalicoIsUp",
                message="Calico is running on this node",
                within_s=30.0,
            )
        except DatastoreError as error:
            log.error("Unable to set NetworkUnavailable to False: %s", error)
    shutdown.timestamp_file(environ).unlink(missing_ok=True)


def _wait_for(client: Client, environ: Mapping[str, str]) -> None:
    if environ.get("WAIT_FOR_DATASTORE") != "true":
        log.info("Skipping datastore connection test")
        return
    log.info("Checking datastore connection")
    while True:
        try:
            client.get(Node, "foo")
        except NotFound:
            pass
        except Unauthorized as error:
            raise Fatal(f"Connection to the datastore is unauthorized: {error}") from error
        except DatastoreError as error:
            log.info("Hit error connecting to datastore - retry: %s", error)
            time.sleep(_RETRY_S)
            continue
        log.info("Datastore connection verified")
        return


def _write_node(client: Client, name: str, environ: Mapping[str, str], around: Surroundings) -> None:
    """Reads, changes and writes the Node; what others changed meanwhile is read and kept."""
    for _ in range(_WRITE_TRIES):
        node = _get_node(client, name)
        if not _configure(client, node, environ, around):
            return
        try:
            if node.metadata.resource_version:
                client.update(node)
            else:
                client.create(node)
        except (Conflict, AlreadyExists):
            continue
        return
    raise Fatal(f"Node {name} is being changed by others all the time: unable to set its configuration")


def _get_node(client: Client, name: str) -> Node:
    try:
        return client.get(Node, name)
    except NotFound:
        return Node(metadata=ObjectMeta(name=name))


def _configure(client: Client, node: Node, environ: Mapping[str, str], around: Surroundings) -> bool:
    """Tells whether the Node must be written."""
    changed = False
    if environ.get("CALICO_NETWORKING_BACKEND") != "none":
        changed = settle_addresses(client, node, environ, around)
    changed = _configure_as(node, environ) or changed
    reference = environ.get("CALICO_K8S_NODE_REF", "")
    if reference:
        node.spec.orch_refs = [OrchRef(node_name=reference, orchestrator="k8s")]
        changed = True
    if node.spec.bgp == NodeBGPSpec():
        node.spec.bgp = None
    return changed


def settle_addresses(client: Client, node: Node, environ: Mapping[str, str], around: Surroundings) -> bool:
    """Addresses configured and free of conflicts; tells whether one changed.

    Raises Fatal; what was detected before and is no longer valid is then taken off the stored Node, so that
    nobody else meets it.
    """
    try:
        changed = addresses.configure(node, environ, around)
    except addresses.DetectionFailed as error:
        _clear_stored(client, node.metadata.name, error.families)
        raise
    if changed:
        conflicts = addresses.check_conflicts(client, node, environ)
        if conflicts:
            detected = {f for f, key in ((4, "IP"), (6, "IP6")) if environ.get(key) == "autodetect"}
            _clear_stored(client, node.metadata.name, conflicts & detected)
            raise Fatal("The node's address is in use by another node: change IP, or remove the other node")
    return changed


def _clear_stored(client: Client, name: str, families: set[int]) -> None:
    if not families:
        return
    try:
        stored = client.get(Node, name)
        if addresses.clear(stored, families):
            log.info("Clearing out-of-date addresses from Node %s", name)
            client.update(stored)
    except DatastoreError as error:
        log.warning("Unable to clear out-of-date addresses from Node %s: %s", name, error)


def _configure_as(node: Node, environ: Mapping[str, str]) -> bool:
    text = environ.get("AS", "")
    if not text:
        return False
    number = values.as_number(text)
    if number is None:
        raise Fatal(f"The AS number specified in the environment (AS={text}) is not valid")
    bgp = node.spec.bgp or NodeBGPSpec()
    if bgp.as_number == number:
        return False
    bgp.as_number = number
    node.spec.bgp = bgp
    log.info("Using AS number specified in environment (AS=%s)", text)
    return True


def _make_directories(environ: Mapping[str, str]) -> None:
    run, lib, logs = _DIRECTORIES
    wanted = [lib]
    if environ.get("CALICO_NETWORKING_BACKEND") not in ("none", "vxlan"):
        wanted.append(run)
    if environ.get("CALICO_DISABLE_FILE_LOGGING", "false").lower() != "true":
        wanted.append(logs)
    for path in wanted:
        if not Path(path).is_dir():
            log.warning(
                "Expected %s to be mounted into the container but it wasn't present; creating it", path
            )
            Path(path).mkdir(parents=True, exist_ok=True)


def _ipv6(environ: Mapping[str, str]) -> bool:
    asked = environ.get("FELIX_IPV6SUPPORT", "true").lower() not in ("false", "0", "no", "n", "f")
    return asked and Path("/proc/sys/net/ipv6").exists()
