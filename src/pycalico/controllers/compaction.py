"""Forgets etcd's history of more than a period ago, together with whoever else does the same.

The protocol is that of Kubernetes' API servers (key and meaning observed): one counter in etcd, its version says
how often anybody has compacted, its value up to which revision. Only who raises it compacts.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

import msgspec

from pycalico.datastore.errors import DatastoreError, RevisionExpired
from pycalico.datastore.etcd.gateway import Gateway, TxnAnswer, b64

log = logging.getLogger(__name__)

KEY = "compact_rev_key"
_FIRST_RETRY_S = 60.0


class _Nothing(msgspec.Struct):
    pass


class Compaction:
    """``period_s``: what happened this long ago can still be watched from."""

    def __init__(
        self, gateway: Gateway, period_s: float, may_write: Callable[[], bool] = lambda: True
    ) -> None:
        self._gateway = gateway
        self._period_s = period_s
        self._may_write = may_write
        self._stopping = threading.Event()
        self._times, self._revision = "0", "0"

    def start(self) -> None:
        threading.Thread(target=self._run, daemon=True, name="compaction").start()

    def stop(self) -> None:
        self._stopping.set()

    def _run(self) -> None:
        wait_s = self._period_s
        while not self._stopping.wait(wait_s):
            wait_s = self._period_s
            try:
                if self._may_write():
                    self.compact()
            except DatastoreError as error:
                log.warning("cannot compact etcd: %s", error)
                wait_s = min(self._period_s, _FIRST_RETRY_S)
            except Exception:
                log.exception("compacting etcd failed")

    def compact(self) -> None:
        """One turn. The first of a process only learns how far things are. Raises DatastoreError."""
        key = b64(KEY)
        body = {
            "compare": [{"key": key, "target": "VERSION", "result": "EQUAL", "version": self._times}],
            "success": [{"request_put": {"key": key, "value": b64(self._revision)}}],
            "failure": [{"request_range": {"key": key}}],
        }
        answer = self._gateway.call("/v3/kv/txn", body, TxnAnswer)
        before, self._revision = self._revision, answer.header.revision
        if not answer.succeeded:
            found = answer.found
            self._times = found.version if found is not None else "0"
            return
        self._times = str(int(self._times) + 1)
        if before == "0":
            return
        try:
            self._gateway.call("/v3/kv/compaction", {"revision": before}, _Nothing)
        except RevisionExpired:
            return
        log.info("Compacted etcd up to revision %s", before)
