"""``calico-node -confd``."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Mapping
from pathlib import Path

from pycalico.base import log as base_log
from pycalico.bgp import confdstatus, daemon
from pycalico.bgp.inputs import Settings
from pycalico.bgp.routing import UnknownNode
from pycalico.confd import metrics
from pycalico.confd.files import ConfigDirectory
from pycalico.confd.loop import Loop
from pycalico.confd.reload import Reloader
from pycalico.confd.secrets import Secrets
from pycalico.datastore.client import Client
from pycalico.datastore.config import ETCD, KUBERNETES, from_environment
from pycalico.datastore.errors import DatastoreError
from pycalico.datastore.kubernetes.rest import Rest
from pycalico.datastore.open import kubernetes_access, open_client

log = logging.getLogger(__name__)

DEFAULT_DIRECTORY = "/etc/calico/confd"
_BOOT = 3


def run(directory: str = DEFAULT_DIRECTORY, *, once: bool = False, keep_stage: bool = False) -> int:
    """Returns the exit code. SIGTERM and SIGINT end it with 0."""
    environ = os.environ
    level = environ.get("BGP_LOGSEVERITYSCREEN", "") or "info"
    base_log.configure("confd", "info" if level.lower() == "none" else level)
    try:
        loop = _loop(Path(directory), environ, keep_stage=keep_stage)
        _stop_on_signals(loop)
        if once:
            loop.run_once()
        else:
            metrics.serve(environ, lambda: confdstatus.metrics(loop.status))
            loop.run()
    except (DatastoreError, UnknownNode, daemon.Refused, OSError) as error:
        log.critical("%s", error)
        return 1
    return 0


def _stop_on_signals(loop: Loop) -> None:
    """In a thread of its own: the handler may have interrupted the main one while that holds the loop's lock.

    It is there before it is needed, since at the end of memory no thread starts.
    """
    heard, told = os.pipe()

    def stop() -> None:
        os.read(heard, 1)
        loop.stop()

    threading.Thread(target=stop, name="stop", daemon=True).start()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: os.write(told, b"."))


def settings_of(environ: Mapping[str, str]) -> Settings:
    """Raises UnknownNode when NODENAME is not set."""
    node = environ.get("NODENAME", "")
    if not node:
        raise UnknownNode("NODENAME is not set: start-up writes it to /var/lib/calico/nodename")
    bird = 1
    try:
        felix_routes = daemon.felix_writes_routes(environ)
        bird = 2 if daemon.flavour() is daemon.Flavour.BIRD_2 else 1
    except (daemon.Missing, daemon.Refused) as error:
        log.warning("%s; routes to other nodes are left to Felix", error)
        felix_routes = True
    protocol = environ.get("FELIX_DEVICEROUTEPROTOCOL", "")
    number = int(protocol) if protocol.isascii() and protocol.isdigit() and int(protocol) < 256 else _BOOT
    return Settings(
        node=node,
        router_id=environ.get("CALICO_ROUTER_ID", ""),
        advertise_cluster_ips=environ.get("CALICO_ADVERTISE_CLUSTER_IPS", ""),
        endpoint_node=environ.get("CALICO_K8S_NODE_REF", "") or node,
        use_pod_cidr=environ.get("USE_POD_CIDR", "").lower() in ("1", "t", "true"),
        felix_routes=felix_routes,
        # Felix's own default is on, and its environment wins over its configuration in the datastore.
        felix_ipv6=environ.get("FELIX_IPV6SUPPORT", "").lower() not in ("false", "0", "no", "n", "f"),
        felix_protocol=80 if number == _BOOT else number,
        bird=bird,
    )


def _loop(directory: Path, environ: Mapping[str, str], *, keep_stage: bool) -> Loop:
    settings = settings_of(environ)
    config = from_environment(environ)
    client = open_client(config, environ)
    rest = getattr(client, "rest", None)
    service_client: Client | None = client if rest is not None else None
    if rest is None and config.datastore_type == ETCD:
        rest, service_client = _kubernetes_beside_etcd(environ)
    loop = Loop(
        client,
        settings,
        ConfigDirectory(directory / "config", keep_stage=keep_stage),
        Reloader(),
        service_client=service_client,
        follow_log_level=not environ.get("BGP_LOGSEVERITYSCREEN"),
        status_file=confdstatus.PATH,
    )
    loop.use_secrets(Secrets(rest, environ.get("NAMESPACE", "") or "kube-system", loop.wake.set))
    return loop


def _kubernetes_beside_etcd(environ: Mapping[str, str]) -> tuple[Rest | None, Client | None]:
    """Services and secrets are Kubernetes' also where Calico's own objects are in etcd."""
    from pycalico.datastore.kubernetes.client import KubernetesClient  # noqa: PLC0415 - etcd alone needs it not

    try:
        rest = Rest(kubernetes_access(from_environment({**environ, "DATASTORE_TYPE": KUBERNETES}), environ))
    except DatastoreError as error:
        log.info("No Kubernetes API: services and passwords from secrets are not available (%s)", error)
        return None, None
    return rest, KubernetesClient(rest)
