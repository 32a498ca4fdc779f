"""A container's course: started, probed, ended, started again; and how that reads in a pod's status."""

from __future__ import annotations

import secrets
import time

from pycalico.lab import images
from pycalico.lab.cluster import Object, now
from pycalico.lab.container import Container

BACKOFF_S, BACKOFF_MAX_S = 0.5, 10.0
#: A failing readiness probe is repeated this soon, or after so many times its own duration.
_HURRY_S, _HURRY_SHARE = 1.0, 3.0


class Course:
    """One container's course so far."""

    def __init__(self, spec: Object) -> None:
        self.spec = spec
        self.container: Container | None = None
        self.env: dict[str, str] = {}
        self.restarts = 0
        self.ran = self.final = self.succeeded = False
        self.code: int | None = None
        self.not_before = 0.0
        self.started = "startupProbe" not in spec
        self._state: Object = {"waiting": {"reason": "ContainerCreating"}}
        self._backoff = BACKOFF_S
        self._probes = {
            kind: Probe(spec[kind])
            for kind in ("startupProbe", "readinessProbe", "livenessProbe")
            if kind in spec
        }
        self._ready = "readinessProbe" not in spec
        self._began = 0.0
        self._id = ""

    def begin(self) -> None:
        self.ran, self._began, self._id = True, time.monotonic(), secrets.token_hex(32)
        self._state = {"running": {"startedAt": now()}}
        for probe in self._probes.values():
            probe.reset()

    def finish(self, code: int) -> None:
        self.container, self.code, self.succeeded = None, code, code == 0
        if time.monotonic() - self._began > 10 * BACKOFF_MAX_S:
            self._backoff = BACKOFF_S
        reason = "Completed" if code == 0 else "Error"
        self._state = {"terminated": {"exitCode": code, "reason": reason, "finishedAt": now()}}
        self._ready = "readinessProbe" not in self.spec

    def wait(self, reason: str, message: str) -> None:
        self._state = {"waiting": {"reason": reason, "message": message}}

    def delay(self) -> None:
        self.not_before = time.monotonic() + self._backoff
        self._backoff = min(self._backoff * 2, BACKOFF_MAX_S)

    def ready(self) -> bool:
        return self.container is not None and self.started and self._ready

    def settled(self) -> bool:
        return self.final or self.ready()

    def probe(self) -> bool:
        """Runs the probes that are due; False when the container has to be restarted."""
        if self.container is None:
            return True
        if not self.started:
            outcome = self._probes["startupProbe"].due(self.container, self.env)
            self.started = bool(outcome)
            return not self._probes["startupProbe"].exhausted()
        if "readinessProbe" in self._probes:
            outcome = self._probes["readinessProbe"].due(self.container, self.env, hurry=not self._ready)
            if outcome or (outcome is False and self._probes["readinessProbe"].exhausted()):
                self._ready = outcome
        if "livenessProbe" in self._probes:
            self._probes["livenessProbe"].due(self.container, self.env)
            return not self._probes["livenessProbe"].exhausted()
        return True

    def wire(self) -> Object:
        return {
            "name": self.spec["name"],
            "image": self.spec.get("image", ""),
            "imageID": "",
            "containerID": f"lab://{self._id}" if self._id else "",
            "ready": self.ready() or (self.succeeded and "terminated" in self._state),
            "started": self.started and self.container is not None,
            "restartCount": self.restarts,
            "state": self._state,
        }


class Probe:
    """An exec probe (others count as passed). A failing readiness probe is repeated soon."""

    def __init__(self, spec: Object) -> None:
        self._spec = spec
        self._failures = 0
        self._next = 0.0

    def reset(self) -> None:
        self._failures = 0
        self._next = time.monotonic() + self._spec.get("initialDelaySeconds", 0)

    def due(self, container: Container, env: dict[str, str], *, hurry: bool = False) -> bool | None:
        """None when it was not time."""
        if time.monotonic() < self._next:
            return None
        began = time.monotonic()
        command = images.here(self._spec.get("exec", {}).get("command") or [])
        passed = not command or container.exec(command, env, self._spec.get("timeoutSeconds", 1))[0] == 0
        self._failures = 0 if passed else self._failures + 1
        ended = time.monotonic()
        period = self._spec.get("periodSeconds", 10)
        # On a slow kernel a probe takes long: asking at once again would keep the asked from getting ready.
        hurried = max(_HURRY_S, _HURRY_SHARE * (ended - began))
        self._next = ended + (min(hurried, period) if hurry and not passed else period)
        return passed

    def exhausted(self) -> bool:
        return self._failures >= int(self._spec.get("failureThreshold", 3))
