"""Cuts open connections that policy no longer allows, where ConnectionPruning asks for it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence

from pycalico.dataplane.drivers import connections
from pycalico.dataplane.drivers.connections import Connection
from pycalico.dataplane.managers.verdicts import Verdicts
from pycalico.kernel.command import CommandError

log = logging.getLogger(__name__)

_PAUSE_S = 1.0


class Pruner:
    """Runs in a thread of its own: lists at most once a second, and cuts at most ``per_s`` in a second."""

    def __init__(self, verdicts: Verdicts, families: Sequence[int], per_s: float) -> None:
        #: How many were cut in all.
        self.cut = 0
        self._verdicts = verdicts
        self._families = families
        self._wait_s = 1 / per_s
        self._wake = threading.Event()
        self._told = ""

    def wake(self) -> None:
        """Something that concerns connections is in the kernel now."""
        self._wake.set()

    def run(self, stop: threading.Event) -> None:
        while not stop.is_set():
            if self._wake.wait(_PAUSE_S):
                self._wake.clear()
                self._look(stop)
                stop.wait(_PAUSE_S)

    def _look(self, stop: threading.Event) -> None:
        addresses = self._verdicts.take_concerned()
        if not addresses:
            return
        reason = ""
        before = self.cut
        example: Connection | None = None
        for family in self._families:
            try:
                for connection in connections.listing(family):
                    if stop.is_set():
                        return
                    if addresses.isdisjoint((connection.src, connection.end)):
                        continue
                    if not self._verdicts.allows(connection):
                        example = example or connection
                        reason = connections.cut(connection) or reason
                        self.cut += 1
                        stop.wait(self._wait_s)
            except CommandError as error:
                reason = str(error)
        if reason and reason != self._told:
            log.warning("open connections that policy no longer allows are not all cut: %s", reason)
        self._told = reason
        if example:
            log.info(
                "cut %d connections that policy no longer allows, from %s to %s among them",
                self.cut - before, example.src, example.end,
            )  # fmt: skip
