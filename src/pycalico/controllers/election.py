"""One of several replicas leads: it holds a Lease of the API server and renews it; the others wait.

The leader may write only while its own clock says that nobody else can have taken the lease: a process that was
stopped, or cut off, finds that out before its next write.
"""

from __future__ import annotations

import datetime as dt
import logging
import random
import socket
import threading
import time
import uuid
from collections.abc import Callable

import msgspec

from pycalico.datastore.errors import DatastoreError, Unauthorized
from pycalico.datastore.kubernetes.rest import Rest, StatusError, path_of

log = logging.getLogger(__name__)

LEASE = "calico-kube-controllers"
API = "coordination.k8s.io/v1"
#: Others may take a lease this long after its last renewal; with the retry below, hand-over ends within 10 s.
DURATION_S = 8
_RENEW_S = 2.0
_RETRY_S = 1.0
#: What two clocks may differ in speed by, and a request in flight, within a duration.
_MARGIN_S = 2.0
_READ_S = 3.0


class LeaseSpec(msgspec.Struct, rename="camel", omit_defaults=True):
    holder_identity: str | None = None
    lease_duration_seconds: int | None = None
    acquire_time: str | None = None
    renew_time: str | None = None
    lease_transitions: int | None = None


class _Meta(msgspec.Struct, rename="camel", omit_defaults=True):
    name: str = ""
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""


class Lease(msgspec.Struct, rename="camel"):
    api_version: str = API
    kind: str = "Lease"
    metadata: _Meta = msgspec.field(default_factory=_Meta)
    spec: LeaseSpec = msgspec.field(default_factory=LeaseSpec)


class Election:
    """``lost`` is called once when another replica has taken over: this process is to end.

    Where the API server gives no right to leases (upstream's ClusterRole does not), every process leads.
    """

    def __init__(
        self,
        rest: Rest,
        namespace: str,
        lost: Callable[[], None],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.identity = f"{socket.gethostname()}_{uuid.uuid4()}"
        self._rest = rest
        self._namespace = namespace
        self._lost = lost
        self._clock = clock
        self._stopping = threading.Event()
        self._leading = threading.Event()
        self._without = False
        self._renewed_s = -float("inf")
        #: What was last seen of another's lease, and when by our own clock: theirs is not to be trusted.
        self._seen: tuple[str | None, str | None] = (None, None)
        self._seen_s = -float("inf")
        self._waiting_for: str | None = None

    def start(self) -> None:
        threading.Thread(target=self._run, daemon=True, name="election").start()

    def wait(self, timeout_s: float | None = None) -> bool:
        """Until this process leads."""
        return self._leading.wait(timeout_s)

    def may_write(self) -> bool:
        return self._without or (
            self._leading.is_set() and self._clock() < self._renewed_s + DURATION_S - _MARGIN_S
        )

    def stop(self) -> None:
        """Gives the lease back, so that the next need not wait for its end."""
        self._stopping.set()
        if not self._without and self.may_write():
            self._renewed_s = -float("inf")
            try:
                lease = self._get()
                if lease is not None and lease.spec.holder_identity == self.identity:
                    lease.spec.holder_identity = ""
                    lease.spec.lease_duration_seconds = 1
                    self._rest.replace(self._path(LEASE), lease, Lease)
            except DatastoreError as error:
                log.info("cannot give the lease back: %s", error)

    def _run(self) -> None:
        while not self._stopping.is_set():
            began_s = self._clock()
            try:
                held = self._try(began_s)
            except DatastoreError as error:
                if self._lacks_right(error):
                    log.warning(
                        "no right to leases: running without election, have one replica only: %s", error
                    )
                    self._without = True
                    self._leading.set()
                    return
                log.warning("election: %s; trying again", error)
                self._stopping.wait(_RETRY_S)
                continue
            except Exception:
                log.exception("the election failed; trying again")
                self._stopping.wait(_RETRY_S)
                continue
            if held:
                self._renewed_s = began_s
                if not self._leading.is_set():
                    log.info("Leading, as %s", self.identity)
                    self._leading.set()
                self._stopping.wait(_RENEW_S)
            elif self._leading.is_set():
                self._renewed_s = -float("inf")
                if not self._stopping.is_set():
                    self._lost()
                return
            else:
                self._stopping.wait(_RETRY_S * (1 + random.random() / 10))  # noqa: S311 - spreads load

    def _lacks_right(self, error: DatastoreError) -> bool:
        """Refused as such, and from the start: a token that has run out, or a role in the making, is no answer."""
        refused = isinstance(error, Unauthorized) and error.forbidden
        return refused and self._waiting_for is None and not self._leading.is_set()

    def _try(self, now_s: float) -> bool:
        """Whether the lease is ours after this. Raises DatastoreError when that cannot be told."""
        lease = self._get()
        if lease is None:
            new = Lease(metadata=_Meta(name=LEASE, namespace=self._namespace), spec=self._spec(None))
            self._rest.create(self._path(), new, Lease)
            return True
        holder = lease.spec.holder_identity
        if holder and holder != self.identity:
            seen = (holder, lease.spec.renew_time)
            if seen != self._seen:
                self._seen, self._seen_s = seen, now_s
            if self._waiting_for != holder:
                self._waiting_for = holder
                log.info("Waiting: %s leads", holder)
            if now_s < self._seen_s + (lease.spec.lease_duration_seconds or DURATION_S):
                return False
            log.warning("%s has not renewed its lease, taking over", holder)
        lease.spec = self._spec(lease.spec)
        # Refused when it has changed since it was read: the next look tells who has it.
        self._rest.replace(self._path(LEASE), lease, Lease)
        return True

    def _spec(self, old: LeaseSpec | None) -> LeaseSpec:
        now = dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        same = old is not None and old.holder_identity == self.identity
        return LeaseSpec(
            holder_identity=self.identity,
            lease_duration_seconds=DURATION_S,
            acquire_time=old.acquire_time if old is not None and same else now,
            renew_time=now,
            lease_transitions=((old.lease_transitions or 0) + (not same)) if old is not None else 0,
        )

    def _get(self) -> Lease | None:
        try:
            return self._rest.get(self._path(LEASE), Lease)
        except StatusError as error:
            if error.code == 404 and error.reason == "NotFound":
                return None
            raise

    def _path(self, name: str = "") -> str:
        return path_of(API, "leases", self._namespace, name)
