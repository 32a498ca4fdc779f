"""The cluster-wide objects that every node's start-up sees to: ClusterInformation and FelixConfiguration."""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Callable, Mapping

import msgspec

from pycalico import CALICO_VERSION
from pycalico.api.meta import ObjectMeta
from pycalico.api.v3.clusterinformation import ClusterInformation
from pycalico.api.v3.felixconfiguration import FelixConfiguration
from pycalico.base.backoff import Backoff
from pycalico.datastore.client import Client
from pycalico.datastore.errors import AlreadyExists, Conflict, DatastoreError, NotFound

log = logging.getLogger(__name__)

_NAME = "default"
_FIRST_RETRY_S = 0.05
_MOST_RETRY_S = 2.0
_TRIES = 30


def cluster_type(
    existing: str, environ: Mapping[str, str], *, kubeadm: bool, rancher: bool, kdd: bool
) -> str:
    """``k8s,bgp,kubeadm,kdd``: what stands there, then what is missing, in a fixed order."""
    words = [word for word in existing.split(",") if word]
    wanted = [word.strip() for word in environ.get("CLUSTER_TYPE", "").split(",") if word.strip()]
    wanted += ["kubeadm"] * kubeadm + ["rancher"] * rancher + ["kdd"] * kdd
    for word in wanted:
        if word not in words:
            words.append(word)
    return ",".join(words)


def ensure_cluster_information(client: Client, word_list: Callable[[str], str]) -> None:
    """Creates or completes ``default``; ``word_list`` maps the present cluster type to the wanted one.

    Several nodes do this at once: a lost race is run again. Raises DatastoreError.
    """
    retry = Backoff(_FIRST_RETRY_S, _MOST_RETRY_S, jitter=1.0)
    for _ in range(_TRIES):
        try:
            try:
                info = client.get(ClusterInformation, _NAME)
            except NotFound:
                info = ClusterInformation(metadata=ObjectMeta(name=_NAME))
            before = msgspec.structs.replace(info.spec)
            info.spec.cluster_type = word_list(info.spec.cluster_type)
            info.spec.calico_version = CALICO_VERSION
            info.spec.cluster_guid = info.spec.cluster_guid or uuid.uuid4().hex
            if info.spec.datastore_ready is None:
                info.spec.datastore_ready = True
            if not info.metadata.resource_version:
                client.create(info)
            elif info.spec != before:
                client.update(info)
        except (AlreadyExists, Conflict):
            time.sleep(retry.next_delay_s())
            continue
        return
    raise DatastoreError("ClusterInformation default is being changed by others all the time; starting over")


def ensure_felix_defaults(client: Client, node: str, *, etcd: bool) -> None:
    """Fills in what is unset. A race with another node is won by either."""
    try:
        try:
            config = client.get(FelixConfiguration, _NAME)
        except NotFound:
            config = FelixConfiguration(metadata=ObjectMeta(name=_NAME))
        before = msgspec.structs.replace(config.spec)
        if config.spec.reporting_interval is None:
            config.spec.reporting_interval = "0s"
        config.spec.log_severity_screen = config.spec.log_severity_screen or "Info"
        if config.spec != before:
            if config.metadata.resource_version:
                client.update(config)
            else:
                client.create(config)
        if etcd:
            _ensure_node_default(client, node)
    except (AlreadyExists, Conflict):
        log.info("Another node has written the Felix defaults")


def _ensure_node_default(client: Client, node: str) -> None:
    name = f"node.{node}"
    try:
        config = client.get(FelixConfiguration, name)
    except NotFound:
        config = FelixConfiguration(metadata=ObjectMeta(name=name))
    if config.spec.default_endpoint_to_host_action:
        return
    config.spec.default_endpoint_to_host_action = "Return"
    if config.metadata.resource_version:
        client.update(config)
    else:
        client.create(config)
