"""The Kubernetes Secrets that passwords come from, each watched by itself.

One by one and by name, so that confd needs no right to read others. A thread each; values never reach a log.
"""

from __future__ import annotations

import base64
import binascii
import logging
import threading
from collections.abc import Callable

import msgspec

from pycalico.base.backoff import Backoff
from pycalico.datastore.errors import DatastoreError, RevisionExpired
from pycalico.datastore.kubernetes.rest import Rest, RestWatch, StatusError, path_of

log = logging.getLogger(__name__)

_FIRST_DELAY_S = 0.5
_MOST_DELAY_S = 30.0


class _Meta(msgspec.Struct, rename="camel"):
    resource_version: str = ""


class _Secret(msgspec.Struct):
    metadata: _Meta = msgspec.field(default_factory=_Meta)
    data: dict[str, str] | None = None


class Secrets:
    """``notify`` is called, from a watcher's thread, when a value may have changed."""

    def __init__(self, rest: Rest | None, namespace: str, notify: Callable[[], None]) -> None:
        self._rest = rest
        self._namespace = namespace
        self._notify = notify
        self._watchers: dict[str, _Watcher] = {}

    def want(self, names: set[str]) -> None:
        """Watches exactly these from now on."""
        for name in set(self._watchers) - names:
            self._watchers.pop(name).stop()
        for name in sorted(names - set(self._watchers)):
            if self._rest is None:
                log.warning("secret %s cannot be read: there is no Kubernetes API to ask", name)
                continue
            watcher = _Watcher(self._rest, self._namespace, name, self._notify)
            self._watchers[name] = watcher
            watcher.start()

    def ready(self) -> bool:
        """Whether every wanted secret has been looked up once."""
        return all(watcher.answered.is_set() for watcher in self._watchers.values())

    def values(self) -> dict[str, dict[str, str]]:
        """Decoded contents of the secrets that exist."""
        found = {name: watcher.value for name, watcher in self._watchers.items()}
        return {name: value for name, value in found.items() if value is not None}


class _Watcher:
    def __init__(self, rest: Rest, namespace: str, name: str, notify: Callable[[], None]) -> None:
        self.value: dict[str, str] | None = None
        self.answered = threading.Event()
        self._rest = rest
        self._path = path_of("v1", "secrets", namespace)
        self._query = {"fieldSelector": f"metadata.name={name}"}
        self._name = name
        self._notify = notify
        self._stopping = threading.Event()
        self._running: RestWatch | None = None

    def start(self) -> None:
        threading.Thread(target=self._run, daemon=True, name=f"secret-{self._name}").start()

    def stop(self) -> None:
        self._stopping.set()
        running = self._running
        if running:
            running.close()

    def _run(self) -> None:
        backoff = Backoff(_FIRST_DELAY_S, _MOST_DELAY_S)
        while not self._stopping.is_set():
            try:
                page = self._rest.list(self._path, _Secret, query=self._query)
                self._set(page.items[0] if page.items else None)
                backoff.reset()
                self._follow(page.revision)
            except RevisionExpired:
                pass
            except (DatastoreError, StatusError) as error:
                log.warning("secret %s cannot be read: %s", self._name, error)
                self.answered.set()
                self._notify()
            self._stopping.wait(backoff.next_delay_s())

    def _follow(self, revision: str) -> None:
        watch = self._running = self._rest.watch(self._path, revision=revision, query=self._query)
        try:
            for event in watch:
                if self._stopping.is_set():
                    return
                if event.type in ("ADDED", "MODIFIED"):
                    self._set(msgspec.json.decode(event.object, type=_Secret))
                elif event.type == "DELETED":
                    self._set(None)
        finally:
            self._running = None
            watch.close()

    def _set(self, secret: _Secret | None) -> None:
        value = None if secret is None else {key: _decode(text) for key, text in (secret.data or {}).items()}
        changed = value != self.value or not self.answered.is_set()
        self.value = value
        self.answered.set()
        if changed:
            self._notify()


def _decode(text: str) -> str:
    try:
        return base64.b64decode(text, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return ""
