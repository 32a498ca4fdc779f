"""Clients that are kept from call to call, one for each datastore that a configuration names."""

from __future__ import annotations

import logging
import os
import threading
import time
from contextlib import AbstractContextManager, nullcontext

import msgspec

from pycalico.cni import netconf
from pycalico.cni.agent.memory import MemoryClient
from pycalico.cni.errors import CNIError
from pycalico.cni.invocation import Invocation, OneCall
from pycalico.datastore.client import Client
from pycalico.datastore.config import KUBERNETES, DatastoreConfig, from_environment
from pycalico.datastore.errors import Invalid
from pycalico.datastore.kubernetes.rest import Rest
from pycalico.datastore.open import kubernetes_access, open_client
from pycalico.ipam.allocator import Allocator

log = logging.getLogger(__name__)

#: The host's files as calico-node's container sees them.
_HOST = "/host"
_FILES = ("KUBECONFIG", "ETCD_KEY_FILE", "ETCD_CERT_FILE", "ETCD_CA_CERT_FILE")
#: A client nobody has asked for since is closed.
_IDLE_S = 3600.0


class _Kept(msgspec.Struct):
    client: MemoryClient
    allocator: Allocator
    last_used_s: float


class KeptStores:
    """Thread-safe. A kubeconfig or certificate that was replaced makes a new client."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: dict[tuple[object, ...], _Kept] = {}
        self._plain = OneCall()

    def client(self, call: Invocation) -> Client:
        """Raises CNIError."""
        return self._of(call).client

    def allocator(self, call: Invocation) -> Allocator:
        return self._of(call).allocator

    def host_lock(self, path: str) -> AbstractContextManager[None]:  # noqa: ARG002
        """None: the allocator puts writes together, which a lock around each would prevent."""
        return nullcontext()

    def _of(self, call: Invocation) -> _Kept:
        environ = _within(netconf.environment_of(call.config, call.environ))
        node = netconf.node_name(call.config)
        try:
            config = from_environment(environ)
            key = (msgspec.json.encode(config), node, *(_state(environ.get(name, "")) for name in _FILES))
            now_s = time.monotonic()
            with self._lock:
                self._close_idle(now_s)
                kept = self._kept.get(key)
                if kept is None:
                    memory = MemoryClient(open_client(config, environ), node, _follower(config, environ))
                    allocator = Allocator(memory, shared=True)
                    kept = self._kept[key] = _Kept(memory, allocator, now_s)
                    memory.start()
                kept.last_used_s = now_s
                return kept
        except Invalid as error:
            raise CNIError(str(error)) from error

    def forget(self, call: Invocation) -> None:
        client = call.client
        with self._lock:
            for key, kept in list(self._kept.items()):
                if kept.client is client:
                    del self._kept[key]
                    kept.client.close()

    def kubernetes(self, call: Invocation) -> Rest:
        return self._plain.kubernetes(call, _within(netconf.environment_of(call.config, call.environ)))

    def _close_idle(self, now_s: float) -> None:
        for key, kept in list(self._kept.items()):
            if now_s - kept.last_used_s > _IDLE_S:
                del self._kept[key]
                kept.client.close()


def _follower(config: DatastoreConfig, environ: dict[str, str]) -> Client | None:
    """The account of calico-node itself, if it is one of the same cluster: the plugin's may read, but not watch."""
    own = from_environment(os.environ)
    if (own.datastore_type, config.datastore_type) != (KUBERNETES, KUBERNETES):
        return None
    try:
        if kubernetes_access(own).server != kubernetes_access(config, environ).server:
            return None
        return open_client(own)
    except Invalid as error:
        log.info("watching with the plugin's credentials: %s", error)
        return None


def _within(environ: dict[str, str]) -> dict[str, str]:
    """Paths of the host, which the configuration names, as this process sees them."""
    for name in _FILES:
        path = environ.get(name, "")
        if path and os.path.exists(_HOST + path):  # noqa: PTH110 - joined, not resolved
            environ[name] = _HOST + path
    return environ


def _state(path: str) -> tuple[str, int, int]:
    if not path:
        return path, 0, 0
    try:
        found = os.stat(path)  # noqa: PTH116 - at each call
    except OSError:
        return path, 0, 0
    return path, found.st_ino, found.st_mtime_ns
