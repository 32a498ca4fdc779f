"""The loop: changes are gathered for a moment, rendered, written, and read by BIRD."""

from __future__ import annotations

import logging
import threading
import time
from pathlib import Path

import msgspec

from pycalico.base.backoff import Backoff
from pycalico.base.log import LEVELS
from pycalico.bgp import confdstatus, daemon, services
from pycalico.bgp.confdstatus import ConfdStatus
from pycalico.bgp.inputs import Settings
from pycalico.bgp.render import render
from pycalico.bgp.routing import UnknownNode, routing
from pycalico.confd import files as config_files
from pycalico.confd.collector import SERVICE_WATCHES, WATCHES, Collector
from pycalico.confd.files import ConfigDirectory
from pycalico.confd.openings import Openings
from pycalico.confd.reload import Reloader
from pycalico.confd.secrets import Secrets
from pycalico.datastore.client import Client
from pycalico.syncer.syncer import Syncer

log = logging.getLogger(__name__)

#: Changes come in bursts (a node's start touches it several times): one reload for each, not one per change.
_GATHER_S = 0.15
_FIRST_RETRY_S = 0.25
_MOST_RETRY_S = 5.0
#: Passwords and services are waited for this long, lest sessions and routes go down and come up again.
_PATIENCE_S = 5.0
_PATIENCE_STEP_S = 0.25


class Loop:
    """Runs in one thread. ``service_client`` reads Services, or None where there is no Kubernetes.

    ``follow_log_level`` has the log follow BGPConfiguration's logSeverityScreen. ``status_file`` is where
    ``status`` is written on every change, or None.
    """

    def __init__(
        self,
        client: Client,
        settings: Settings,
        directory: ConfigDirectory,
        reloader: Reloader,
        secrets: Secrets | None = None,
        service_client: Client | None = None,
        *,
        follow_log_level: bool = False,
        status_file: Path | None = None,
    ) -> None:
        self.status = ConfdStatus(node=settings.node)
        self._status_file = status_file
        self._status_written = b""
        self.wake = threading.Event()
        self._settings = settings
        self._directory = directory
        self._reloader = reloader
        self._secrets = secrets
        self._service_client = service_client
        self._collector = Collector(settings.node)
        self._syncer = Syncer(client, WATCHES, self.wake.set)
        self._service_syncer: Syncer | None = None
        self._stopping = False
        #: Something has changed since the last render; at first everything has.
        self._dirty = True
        self._first_pass = True
        self._problems: list[str] = []
        self._told: list[str] = []
        self._follow_log_level = follow_log_level
        self._patience_ends: float | None = None
        self._reload_in_s: float | None = None
        self._openings = Openings(reloader.sockets)

    def stop(self) -> None:
        """Safe from other threads; not from a signal handler, which may hold up the thread it interrupts."""
        self._stopping = True
        self.wake.set()

    def use_secrets(self, secrets: Secrets) -> None:
        self._secrets = secrets

    def run(self) -> None:
        """Until ``stop``. Nothing that the datastore holds ends it."""
        self._syncer.start()
        retry = Backoff(_FIRST_RETRY_S, _MOST_RETRY_S)
        due: float | None = None
        try:
            while not self._stopping:
                self._wait(due)
                self._take()
                if self._dirty and self._ready():
                    self._gather()
                    self._dirty = False
                    due = time.monotonic()
                if due is not None and time.monotonic() >= due and not self._stopping:
                    try:
                        self.render()
                        self._tell(self._problems)
                        due = None
                        retry.reset()
                        self.status.failure = ""
                    except (daemon.Refused, OSError, UnknownNode) as error:
                        due = time.monotonic() + retry.next_delay_s()
                        said = self._said(error)
                        self.status.failure = said
                        self._tell([*self._problems, said])
                in_s = [self._reloader.run(), self._openings.run()]
                self._reload_in_s = min((value for value in in_s if value is not None), default=None)
                self._write_status()
        finally:
            self._syncer.stop()
            if self._service_syncer:
                self._service_syncer.stop()

    def run_once(self) -> None:
        """Renders what the datastore holds now. Raises Refused, OSError, UnknownNode."""
        self._syncer.start()
        try:
            while not self._ready() and not self._stopping:
                self.wake.wait(0.5)
                self.wake.clear()
                self._take()
            if not self._stopping:
                try:
                    self.render()
                finally:
                    self._tell(self._problems)
                # A BIRD that happens to run reads the new files; none need be there.
                self._reloader.run()
        finally:
            self._syncer.stop()
            if self._service_syncer:
                self._service_syncer.stop()

    def render(self) -> None:
        """One pass over the collected state. Raises Refused, OSError, UnknownNode."""
        inputs = self._collector.inputs
        if self._follow_log_level:
            self._set_log_level()
        began = time.perf_counter()
        decided = routing(inputs, self._settings)
        files = render(decided, inputs, self._settings)
        self._problems = decided.problems
        self.status.renders += 1
        self.status.render_ms = round((time.perf_counter() - began) * 1000, 3)
        self.status.problems = decided.problems
        outcome = self._directory.apply(files)
        if outcome.changed:
            names = ", ".join(f"IPv{family}" for family in sorted(outcome.changed))
            log.info("Target config %s has been updated (%s)", self._directory.path, names)
            self._reloader.ask({family: config_files.sessions(family, files) for family in outcome.changed})
        if self._first_pass:
            for number in set(self.status.families) - outcome.changed - set(outcome.refused):
                written_s = self._directory.written_s(number)
                self._reloader.verify(number, config_files.sessions(number, files), written_s)
        begun = outcome.changed or (set(decided.families) if self._first_pass else set())
        self._openings.begin({number: decided.families[number].yielding for number in begun})
        self._first_pass = False
        for number, family in self.status.families.items():
            family.wanted = config_files.generation(number, files)
            family.address = decided.families[number].address
            family.refused = outcome.refused.get(number, "")
            if not family.refused:
                family.written = family.wanted
        if outcome.refused:
            raise daemon.Refused(outcome.refusal())

    def _write_status(self) -> None:
        """For whoever asks on this node; the log has said it already."""
        self.status.in_sync = self._syncer.in_sync
        for number, family in self.status.families.items():
            family.pending = self._reloader.pending(number)
            family.reloads = self._reloader.confirmed[number]
            if family.written and not family.pending:
                family.running = family.written
        self.status.changed_s = 0.0
        now = msgspec.json.encode(self.status)
        if self._status_file is None or now == self._status_written:
            return
        self._status_written = now
        self.status.changed_s = round(time.time(), 3)
        try:
            confdstatus.write(self.status, self._status_file)
        except OSError as error:
            log.warning("cannot write %s: %s", self._status_file, error.strerror)

    def _set_log_level(self) -> None:
        """The node's or the cluster's logSeverityScreen; silence is not offered, so ``none`` counts as info."""
        inputs = self._collector.inputs
        text = inputs.of_node(self._settings.node).log_severity_screen or inputs.default.log_severity_screen
        level = LEVELS.get((text or "info").lower(), logging.INFO)
        logging.getLogger().setLevel(logging.INFO if level > logging.CRITICAL else level)

    def _wait(self, due: float | None) -> None:
        delays = [60.0]
        if due is not None:
            delays.append(max(0.0, due - time.monotonic()))
        if self._dirty and self._syncer.in_sync:
            delays.append(_PATIENCE_STEP_S)
        if self._reload_in_s is not None:
            delays.append(self._reload_in_s)
        self.wake.wait(min(delays))
        self.wake.clear()

    def _gather(self) -> None:
        deadline = time.monotonic() + _GATHER_S
        while (left_s := deadline - time.monotonic()) > 0 and not self._stopping:
            if self.wake.wait(left_s):
                self.wake.clear()
                self._take()

    def _take(self) -> None:
        """Applies what waits, and watches what has become of interest."""
        inputs = self._collector.inputs
        changed = self._collector.apply(self._syncer.take(0).updates)
        if self._service_syncer:
            changed = self._collector.apply(self._service_syncer.take(0).updates) or changed
        if self._secrets:
            if self._syncer.in_sync:
                self._secrets.want(self._collector.secret_names())
            secrets = self._secrets.values()
            changed = changed or secrets != inputs.secrets
            inputs.secrets = secrets
        self._dirty = self._dirty or changed
        if (
            self._syncer.in_sync
            and self._service_syncer is None
            and self._service_client is not None
            and services.wants_services(inputs, self._settings)
        ):
            log.info("Service ranges are configured: watching Services")
            self._service_syncer = Syncer(self._service_client, SERVICE_WATCHES, self.wake.set)
            self._service_syncer.start()

    def _ready(self) -> bool:
        """Partial knowledge would withdraw what is still wanted: all must have been heard once.

        Secrets and Services may be out of reach for good (no right to read them, say): their wait has an end.
        """
        if not self._syncer.in_sync:
            return False
        late = (self._service_syncer is not None and not self._service_syncer.in_sync) or (
            self._secrets is not None and not self._secrets.ready()
        )
        if not late:
            self._patience_ends = None
            return True
        if self._patience_ends is None:
            self._patience_ends = time.monotonic() + _PATIENCE_S
        return time.monotonic() >= self._patience_ends

    def _said(self, error: Exception) -> str:
        if not isinstance(error, OSError) or not error.strerror:
            return str(error)
        return f"cannot write {error.filename or self._directory.path}: {error.strerror}"

    def _tell(self, problems: list[str]) -> None:
        """Each problem once, until it goes and comes back."""
        for problem in problems:
            if problem not in self._told:
                log.warning("%s", problem)
        self._told = list(problems)
