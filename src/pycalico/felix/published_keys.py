"""This node's public keys for WireGuard in its Node resource, where the other nodes read them."""

from __future__ import annotations

import logging
import threading

from pycalico.api.v3.node import Node
from pycalico.datastore.client import Client
from pycalico.datastore.errors import Conflict, DatastoreError, NotFound

log = logging.getLogger(__name__)

_RETRY_S = 2.0


class PublishedKeys:
    """Told of keys from any thread; `run` writes them, and tries again until it could."""

    def __init__(self, client: Client, hostname: str) -> None:
        self._client = client
        self._hostname = hostname
        self._changed = threading.Condition()
        self._wanted: dict[int, str] = {}
        self._written: dict[int, str] = {}
        self._said = ""

    def tell(self, family: int, key: str) -> None:
        with self._changed:
            if self._wanted.get(family) != key:
                self._wanted[family] = key
                self._changed.notify()

    def run(self, stop: threading.Event) -> None:
        while not stop.is_set():
            with self._changed:
                self._changed.wait_for(lambda: stop.is_set() or self._wanted != self._written, _RETRY_S)
                wanted = dict(self._wanted)
            if wanted == self._written:
                continue
            try:
                self.write(wanted)
            except DatastoreError as error:
                if str(error) != self._said:
                    log.warning("this node's WireGuard keys are not published: %s", error)
                self._said = str(error)
                stop.wait(_RETRY_S)
            else:
                self._written, self._said = wanted, ""

    def write(self, keys: dict[int, str]) -> None:
        """Keys by family; empty: none. Raises DatastoreError."""
        while True:
            try:
                node = self._client.get(Node, self._hostname)
            except NotFound:
                if any(keys.values()):
                    raise
                return
            status = node.status
            before = (status.wireguard_public_key, status.wireguard_public_key_v6)
            status.wireguard_public_key = keys.get(4, before[0])
            status.wireguard_public_key_v6 = keys.get(6, before[1])
            if (status.wireguard_public_key, status.wireguard_public_key_v6) == before:
                return
            try:
                self._client.update(node)
            except Conflict:
                continue
            log.info("this node's WireGuard keys are published")
            return
