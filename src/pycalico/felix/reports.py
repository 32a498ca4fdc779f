"""What Felix tells etcd of itself and of its endpoints; the Kubernetes datastore has no place for it.

Keys and values are Calico's own: ``/calico/felix/v2/REGION/host/HOST/...``, host endpoints below ``/calico/felix/v1``.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime

import msgspec

from pycalico.calc.messages import WorkloadEndpointID
from pycalico.datastore.errors import DatastoreError
from pycalico.datastore.etcd.gateway import Gateway

log = logging.getLogger(__name__)

_FIRST_S = 10.0
_RESYNC_TURNS = 180
_WAIT_MOST_S = 5.0


class Settings(msgspec.Struct, frozen=True):
    """Seconds; ``endpoints`` is EndpointReportingEnabled, an ``interval_s`` of 0 reports nothing of Felix itself."""

    hostname: str
    region: str = ""
    interval_s: float = 30.0
    ttl_s: float = 90.0
    endpoints: bool = False
    delay_s: float = 1.0


class _Lease(msgspec.Struct):
    ID: str


class Reports:
    """Told of endpoints from any thread; `run` writes, one key of an endpoint every ``delay_s``."""

    def __init__(
        self, gateway: Gateway, settings: Settings, clock: Callable[[], float] = time.monotonic
    ) -> None:
        region = f"region-{settings.region}" if settings.region else "no-region"
        self._host = f"/calico/felix/v2/{region}/host/{settings.hostname}"
        self._host_endpoints = f"/calico/felix/v1/host/{settings.hostname}/endpoint/"
        self._gateway = gateway
        self._settings = settings
        self._clock = clock
        self._lock = threading.Lock()
        self._wanted: dict[str, str] = {}
        self._dirty: dict[str, None] = {}
        self._began_s = clock()
        self._next_s = self._began_s + min(_FIRST_S, settings.interval_s)
        self._reported = False
        self._complete = False
        self._turns_left = 0
        self._told = ""

    def endpoint(self, endpoint: WorkloadEndpointID | str, status: str | None) -> None:
        """None: it is gone."""
        key = self._key(endpoint)
        with self._lock:
            if status is None:
                self._wanted.pop(key, None)
            else:
                self._wanted[key] = status
            self._dirty[key] = None

    def complete(self) -> None:
        """All that there are have been told: others' remains can go."""
        self._complete = True

    def _key(self, endpoint: WorkloadEndpointID | str) -> str:
        if isinstance(endpoint, str):
            return self._host_endpoints + endpoint
        workload = endpoint.workload.replace("/", "%2f")
        return f"{self._host}/workload/{endpoint.orchestrator}/{workload}/endpoint/{endpoint.endpoint}"

    def run(self, stop: threading.Event) -> None:
        settings = self._settings
        pause_s = settings.delay_s if settings.endpoints else settings.interval_s
        if not (settings.endpoints or settings.interval_s > 0):
            return
        while not stop.wait(min(pause_s, _WAIT_MOST_S) or _WAIT_MOST_S):
            try:
                self.turn()
            except DatastoreError as error:
                if str(error) != self._told:
                    log.warning("the status is not reported: %s", str(error).strip())
                self._told = str(error)
            else:
                self._told = ""

    def turn(self) -> None:
        """What is due now. Raises DatastoreError."""
        if self._settings.interval_s > 0 and self._clock() >= self._next_s:
            self._report_itself()
        if self._settings.endpoints and self._complete:
            if self._turns_left <= 0:
                self._resync()
                self._turns_left = _RESYNC_TURNS
            self._turns_left -= 1
            self._report_endpoint()

    def _report_itself(self) -> None:
        report = {
            "time": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "uptime": self._clock() - self._began_s,
            "first_update": not self._reported,
        }
        value = json.dumps(report, separators=(",", ":")).encode()
        lease = self._gateway.call("/v3/lease/grant", {"TTL": str(int(self._settings.ttl_s))}, _Lease).ID
        self._gateway.put_if(f"{self._host}/status", value, "", lease)
        self._gateway.put_if(f"{self._host}/last_reported_status", value, "")
        self._reported = True
        self._next_s = self._clock() + self._settings.interval_s

    def _resync(self) -> None:
        """What is there and differs is as good as changed."""
        there: dict[str, bytes] = {}
        for prefix in (f"{self._host}/workload/", self._host_endpoints):
            for page in self._gateway.pages(prefix, 1000):
                there |= {found.key.decode(): found.value for found in page.kvs}
        with self._lock:
            for key in there.keys() | self._wanted.keys():
                wanted = self._wanted.get(key)
                if there.get(key) != (_value(wanted) if wanted else None):
                    self._dirty[key] = None

    def _report_endpoint(self) -> None:
        with self._lock:
            key = next(iter(self._dirty), None)
            if key is None:
                return
            del self._dirty[key]
            status = self._wanted.get(key)
        try:
            if status is None:
                self._gateway.delete_if(key, "")
            else:
                self._gateway.put_if(key, _value(status), "")
        except DatastoreError:
            with self._lock:
                self._dirty[key] = None
            raise


def _value(status: str) -> bytes:
    return json.dumps({"status": status}, separators=(",", ":")).encode()
