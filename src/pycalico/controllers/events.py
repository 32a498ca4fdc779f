"""Kubernetes events on objects that could not be converted, so that ``kubectl describe`` shows it to their owner."""

from __future__ import annotations

import logging
import queue
import threading
import time

import msgspec

from pycalico.api.meta import ObjectMeta
from pycalico.datastore.errors import DatastoreError, Unauthorized
from pycalico.datastore.kubernetes.events import Subject, warn
from pycalico.datastore.kubernetes.rest import Rest

log = logging.getLogger(__name__)

_WAITING_MOST = 100
#: The same complaint again is news after this long.
_REPEAT_S = 3600.0


class _Complaint(msgspec.Struct, frozen=True):
    namespace: str
    name: str
    uid: str
    why: str


class PolicyEvents:
    """``complain`` never waits; a full queue drops, since the log has the line as well."""

    def __init__(self, rest: Rest) -> None:
        self._rest = rest
        self._waiting: queue.Queue[_Complaint | None] = queue.Queue(_WAITING_MOST)
        self._told_s: dict[_Complaint, float] = {}

    def start(self) -> None:
        threading.Thread(target=self._run, daemon=True, name="policy-events").start()

    def stop(self) -> None:
        try:
            self._waiting.put_nowait(None)
        except queue.Full:
            return

    def complain(self, meta: ObjectMeta, why: str) -> None:
        complaint = _Complaint(meta.namespace, meta.name, meta.uid, why)
        now_s = time.monotonic()
        if now_s - self._told_s.get(complaint, -_REPEAT_S) < _REPEAT_S:
            return
        if len(self._told_s) >= _WAITING_MOST * 10:
            self._told_s.clear()
        self._told_s[complaint] = now_s
        try:
            self._waiting.put_nowait(complaint)
        except queue.Full:
            log.debug("no event on NetworkPolicy %s/%s: too many wait", meta.namespace, meta.name)

    def _run(self) -> None:
        while (complaint := self._waiting.get()) is not None:
            subject = Subject(
                "networking.k8s.io/v1", "NetworkPolicy", complaint.name, complaint.namespace, complaint.uid
            )
            try:
                warn(self._rest, subject, "NotConverted", complaint.why, component="calico-kube-controllers")
            except Unauthorized as error:
                log.info("no events on policies: %s", error)
                return
            except DatastoreError as error:
                name = f"{complaint.namespace}/{complaint.name}"
                log.warning("cannot put an event on NetworkPolicy %s: %s", name, error)
