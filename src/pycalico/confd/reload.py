"""Making BIRD read its configuration anew, and believing it only when it says so."""

from __future__ import annotations

import logging
import time

from pycalico.base.backoff import Backoff
from pycalico.bgp import birdctl

log = logging.getLogger(__name__)

_FIRST_DELAY_S = 0.25
_MOST_DELAY_S = 5.0
#: Reading a large configuration takes BIRD a while.
_CONFIGURE_TIMEOUT_S = 10.0


class Reloader:
    """Remembers which BIRD has yet to read its files; tries again until it has.

    A BIRD that is not running will read them when it starts; it is asked again once it can be reached, since it
    may have begun to read just before they changed.
    """

    def __init__(self, sockets: dict[int, str] | None = None) -> None:
        self._sockets = sockets or {}
        self._pending: dict[int, tuple[float, Backoff]] = {}

    def ask(self, families: set[int]) -> None:
        """Has the families' BIRDs read anew, at the next ``run``."""
        for family in families:
            self._pending[family] = (0.0, Backoff(_FIRST_DELAY_S, _MOST_DELAY_S))

    def run(self) -> float | None:
        """Does what is due; returns in how many seconds there is more to do, or None."""
        for family, (due, backoff) in list(self._pending.items()):
            if time.monotonic() < due:
                continue
            try:
                self._configure(family)
                del self._pending[family]
            except birdctl.Unreachable:
                log.debug("BIRDv%d is not running yet; it is asked again", family)
                self._pending[family] = (time.monotonic() + backoff.next_delay_s(), backoff)
            except birdctl.BirdError as error:
                delay_s = backoff.next_delay_s()
                log.warning("BIRDv%d did not take its new configuration: %s; trying again", family, error)
                self._pending[family] = (time.monotonic() + delay_s, backoff)
        if not self._pending:
            return None
        return max(0.0, min(due for due, _ in self._pending.values()) - time.monotonic())

    def _configure(self, family: int) -> None:
        lines = birdctl.ask(
            family, "configure", path=self._sockets.get(family, ""), timeout_s=_CONFIGURE_TIMEOUT_S
        )
        code, text = lines[-1][:4], lines[-1][5:]
        # 0003 Reconfigured, 0004 in progress, 0018 confirmed; others tell why not.
        if code not in ("0003", "0004", "0018"):
            raise birdctl.BirdError(text or "no answer")
        log.info("BIRDv%d: %s", family, text)
