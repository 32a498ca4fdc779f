"""Asks the datastore and the API server again and again how they are, and writes it to the status file."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from pycalico.controllers.clusterinformation import ensure_initialized
from pycalico.controllers.statusfile import StatusFile
from pycalico.datastore.client import Client
from pycalico.datastore.errors import DatastoreError
from pycalico.datastore.kubernetes.rest import Rest, StatusError

log = logging.getLogger(__name__)

DATASTORE, API_SERVER = "CalicoDatastore", "KubeAPIServer"
_PERIOD_S = 10.0
_FAILING_S = 2.0
_TIMEOUT_S, _MOST_TIMEOUT_S = 4.0, 16.0


class Probes:
    """Connections of their own, with short deadlines: nothing here may wait for what the controllers wait for."""

    def __init__(self, client: Client, rest: Rest) -> None:
        self.client = client
        self.rest = rest


class Health:
    """``open_probes`` makes connections whose calls end within so many seconds. Raises DatastoreError."""

    def __init__(self, status: StatusFile, open_probes: Callable[[float], Probes], *, kdd: bool) -> None:
        self._status = status
        self._open_probes = open_probes
        self._kdd = kdd
        self._stopping = threading.Event()

    def start(self) -> None:
        threading.Thread(target=self._run, daemon=True, name="health").start()

    def stop(self) -> None:
        self._stopping.set()

    def _run(self) -> None:
        timeout_s = _TIMEOUT_S
        probes: Probes | None = None
        while not self._stopping.is_set():
            try:
                probes = probes or self._open_probes(timeout_s)
                good = self._check(probes)
            except DatastoreError as error:
                self._tell(DATASTORE, f"Error verifying datastore: {error}")
                good = False
            except Exception:
                log.exception("the health check failed")
                good = False
            self._status.touch()
            if good:
                if timeout_s != _TIMEOUT_S:
                    timeout_s, probes = _TIMEOUT_S, None
                self._stopping.wait(_PERIOD_S)
            else:
                timeout_s, probes = min(timeout_s * 2, _MOST_TIMEOUT_S), None
                self._stopping.wait(_FAILING_S)

    def _check(self, probes: Probes) -> bool:
        datastore = api_server = ""
        try:
            ensure_initialized(probes.client, kdd=self._kdd)
        except DatastoreError as error:
            datastore = f"Error verifying datastore: {error}"
        try:
            probes.rest.request("GET", "/healthz")
        except StatusError as error:
            api_server = f"Error reaching apiserver: {error} with http status code: {error.code}"
        except DatastoreError as error:
            api_server = f"Error reaching apiserver: {error} with http status code: 0"
        self._tell(DATASTORE, datastore)
        self._tell(API_SERVER, api_server)
        return not (datastore or api_server)

    def _tell(self, name: str, reason: str) -> None:
        if reason:
            log.warning("%s", reason)
        self._status.set(name, ready=not reason, reason=reason)
