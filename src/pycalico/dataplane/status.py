"""How the dataplane is doing, for readiness, metrics and people."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from pycalico.base.distribution import Distribution
from pycalico.reconcile.reconciler import Reconciler


class Failure(msgspec.Struct, frozen=True):
    """``target`` and ``key`` tell what is not as wished; ``since`` is seconds of time.monotonic()."""

    target: str
    key: str
    reason: str
    since: float
    tries: int


class Status(msgspec.Struct, frozen=True):
    """``started``: the first application after InSync is done. ``in_sync``: all is as wished but for ``failures``.

    ``applied`` is the time.monotonic() of the last application (0: none yet), ``alive`` that of the loop's last turn.
    """

    started: bool = False
    in_sync: bool = False
    applied: float = 0.0
    alive: float = 0.0
    messages: int = 0
    applications: int = 0
    last_apply_s: float = 0.0
    failures: tuple[Failure, ...] = ()
    backend: str = ""
    note: str = ""


class Counts:
    """For metrics: sizes of batches, seconds of applications, and messages by class."""

    def __init__(self) -> None:
        self.message_batches = Distribution()
        self.interface_batches = Distribution()
        self.address_batches = Distribution()
        self.applications = Distribution()
        self.messages: dict[str, int] = {}


def failures_of(reconcilers: Iterable[Reconciler[Any, Any, Any]]) -> tuple[Failure, ...]:
    found = []
    for item in reconcilers:
        if item.error:
            found.append(Failure(item.label, "", item.error.reason, item.error.since_s, item.error.tries))
        for key, failure in item.failures.items():
            found.append(Failure(item.label, str(key), failure.reason, failure.since_s, failure.tries))
    return tuple(found)


def joined(*notes: str) -> str:
    """One note of those that are not empty."""
    return "; ".join(filter(None, notes))
