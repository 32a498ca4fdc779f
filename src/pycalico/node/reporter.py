"""``calico-node -status-reporter``: answers CalicoNodeStatus objects that name this node."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Mapping

import msgspec

from pycalico.api.v3.caliconodestatus import (
    CalicoNodeStatus,
    CalicoNodeStatusSpec,
    CalicoNodeStatusStatus,
)
from pycalico.base import log as base_log
from pycalico.bgp.birdctl import BirdError
from pycalico.datastore.client import Client
from pycalico.datastore.errors import Conflict, DatastoreError, NotFound
from pycalico.datastore.open import open_client
from pycalico.node import nodename, status
from pycalico.node.fatal import Fatal
from pycalico.syncer.feeds import WatchSpec
from pycalico.syncer.syncer import Syncer
from pycalico.syncer.update import Update

log = logging.getLogger(__name__)

_LEAST_PERIOD_S = 1
_RETRY_S = 1.0
_MOST_TRIES = 3


class _Request(msgspec.Struct):
    """One object to answer. ``due`` is monotonic; None when nothing is to be reported until the spec changes."""

    spec: CalicoNodeStatusSpec
    due: float | None
    tries: int = 0


class Reporter:
    """Keeps every request's status current; one thread. ``gather`` is status.gather."""

    def __init__(
        self, client: Client, node: str, gather: Callable[[list[str]], CalicoNodeStatusStatus] = status.gather
    ) -> None:
        self._client = client
        self._node = node
        self._gather = gather
        self._requests: dict[str, _Request] = {}

    def apply(self, updates: list[Update], now: float) -> None:
        """A new or changed spec is answered at once; a changed status (our own writing) is not news."""
        for update in updates:
            value = update.value
            if not isinstance(value, CalicoNodeStatus) or value.spec.node != self._node:
                self._requests.pop(update.key.name, None)
                continue
            known = self._requests.get(update.key.name)
            if known is None or known.spec != value.spec:
                self._requests[update.key.name] = _Request(value.spec, now)

    def next_due(self) -> float | None:
        return min((r.due for r in self._requests.values() if r.due is not None), default=None)

    def report_due(self, now: float) -> None:
        for name, request in list(self._requests.items()):
            if request.due is not None and request.due <= now:
                self._report(name, request, now)

    def _report(self, name: str, request: _Request, now: float) -> None:
        period_s = request.spec.update_period_seconds
        # Without a period upstream's default applies; 0 asks for one report for each change of the spec.
        period_s = 10 if period_s is None else period_s
        request.due = now + max(period_s, _LEAST_PERIOD_S) if period_s else None
        try:
            found = self._gather(request.spec.classes)
            self._write(name, found)
            request.tries = 0
        except NotFound:
            self._requests.pop(name, None)
        except Conflict:
            # Our view is old: the watch brings the new one. Without a change of spec it is due again then.
            request.due = now + _RETRY_S
        except (DatastoreError, BirdError) as error:
            log.warning("CalicoNodeStatus %s: %s", name, error)
            request.tries += 1
            if request.tries < _MOST_TRIES and (period_s > 30 or not period_s):
                request.due = now + _RETRY_S

    def _write(self, name: str, found: CalicoNodeStatusStatus) -> None:
        stored = self._client.get(CalicoNodeStatus, name)
        found.last_updated = stored.status.last_updated
        if found == stored.status and found.last_updated is not None:
            return
        found.last_updated = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        stored.status = found
        self._client.update_status(stored)


def run(environ: Mapping[str, str] = os.environ) -> int:
    base_log.configure("status-reporter")
    try:
        node = nodename.required(environ)
        client = open_client(environ=environ)
    except (Fatal, DatastoreError) as error:
        log.critical("%s", error)
        return 1
    reporter = Reporter(client, node)
    syncer = Syncer(client, [WatchSpec(CalicoNodeStatus)])
    syncer.start()
    while True:
        due = reporter.next_due()
        batch = syncer.take(None if due is None else max(0.0, due - time.monotonic()))
        now = time.monotonic()
        reporter.apply(batch.updates, now)
        if syncer.in_sync:
            reporter.report_due(now)
