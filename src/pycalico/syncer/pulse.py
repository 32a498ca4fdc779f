"""Asks a datastore for a sign of life when its watches have been silent: a server can hang with its connections open."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable

from pycalico.datastore.errors import DatastoreError, Unavailable

log = logging.getLogger(__name__)
_chance = random.Random()  # noqa: S311 (spreads load)

#: A server that takes longer for next to nothing is of no use.
_PATIENCE_S = 10.0
#: Short, so that a server that comes back is found within five seconds.
_AGAIN_S = 2.0


class Pulse:
    """``ping`` is a Client's; ``heard_s`` tells when (time.monotonic()) the datastore last said anything by itself.

    After ``silence_s`` without a word, and up to a quarter more, it is asked. What it does then to get the watches
    going again is the client's; here it is told, once, and measured.
    """

    def __init__(self, ping: Callable[[float], None], heard_s: Callable[[], float], silence_s: float) -> None:
        self._ping = ping
        self._heard_s = heard_s
        self._silence_s = silence_s
        self._answered_s = time.monotonic()
        self._silent_since_s: float | None = None

    def silent_s(self) -> float:
        """For how long it has owed an answer; 0 while it owes none."""
        since = self._silent_since_s
        return time.monotonic() - since if since is not None and self._heard_s() < since else 0.0

    def run(self, stop: threading.Event) -> None:
        """Until ``stop`` is set."""
        while not stop.is_set():
            last_s = max(self._heard_s(), self._answered_s)
            wait_s = last_s + self._silence_s * (1 + _chance.random() / 4) - time.monotonic()
            if wait_s > 0:
                stop.wait(wait_s)
            else:
                self._ask(stop)

    def _ask(self, stop: threading.Event) -> None:
        asked_s = time.monotonic()
        try:
            self._ping(_PATIENCE_S)
        except Unavailable as error:
            if self._silent_since_s is None and not stop.is_set():
                self._silent_since_s = asked_s
                log.warning("the datastore gives no sign of life: %s", error)
            # A refused connection fails at once.
            stop.wait(_AGAIN_S)
            return
        except DatastoreError:
            # Whatever it objects to, it lives.
            pass
        if self._silent_since_s is not None:
            log.warning("the datastore is back after %.0f s", time.monotonic() - self._silent_since_s)
        self._answered_s = time.monotonic()
        self._silent_since_s = None
