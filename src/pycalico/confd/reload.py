"""Making BIRD read its configuration anew, and believing it only when it says so and runs the sessions named there."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping

import msgspec

from pycalico.base.backoff import Backoff
from pycalico.bgp import birdctl

log = logging.getLogger(__name__)

_FIRST_DELAY_S = 0.25
_MOST_DELAY_S = 5.0
#: Reading a large configuration takes BIRD a while.
_CONFIGURE_TIMEOUT_S = 10.0
#: Sessions that end linger for a moment; a BIRD that still runs others after this many looks is asked again.
_LOOKS = 12


class _Pending(msgspec.Struct):
    """``sessions``: names of the BGP protocols that the files define. ``asked``: BIRD said that it reads them.

    ``written_s``: only to be asked if it has not read anything since then (seconds since 1970).
    """

    sessions: frozenset[str]
    due: float
    backoff: Backoff
    asked: bool = False
    written_s: float = 0.0
    looks: int = 0
    why: str = "it has not been asked yet"


class Reloader:
    """Remembers which BIRD has yet to read its files; tries again until it has.

    A BIRD that is not running will read them when it starts; it is asked again once it can be reached, since it
    may have begun to read just before they changed.
    """

    def __init__(self, sockets: dict[int, str] | None = None) -> None:
        self.sockets = sockets or {}
        self._pending: dict[int, _Pending] = {}
        self.confirmed: dict[int, int] = {4: 0, 6: 0}

    def ask(self, families: Mapping[int, frozenset[str]]) -> None:
        """Has the families' BIRDs read anew, at the next ``run``; each then has exactly these BGP protocols."""
        for family, sessions in families.items():
            self._pending[family] = _Pending(sessions, 0.0, Backoff(_FIRST_DELAY_S, _MOST_DELAY_S))

    def verify(self, family: int, sessions: frozenset[str], written_s: float) -> None:
        """For files found as they should be: BIRD may not have read them, if confd ended right after writing."""
        backoff = Backoff(_FIRST_DELAY_S, _MOST_DELAY_S)
        self._pending[family] = _Pending(sessions, 0.0, backoff, asked=True, written_s=written_s)

    def pending(self, family: int) -> str:
        """Why BIRD does not run what is written; "" when it does."""
        found = self._pending.get(family)
        return found.why if found else ""

    def run(self) -> float | None:
        """Does what is due; returns in how many seconds there is more to do, or None."""
        for family, pending in list(self._pending.items()):
            if time.monotonic() >= pending.due and self._step(family, pending):
                del self._pending[family]
                self.confirmed[family] += 1
        if not self._pending:
            return None
        return max(0.0, min(pending.due for pending in self._pending.values()) - time.monotonic())

    def _step(self, family: int, pending: _Pending) -> bool:
        """Tells whether BIRD runs what is written."""
        try:
            if not pending.asked:
                self._configure(family)
                pending.asked, pending.looks = True, 0
            pending.why = self._different(family, pending)
            if not pending.why:
                return True
            if pending.written_s:
                pending.asked, pending.written_s = False, 0.0
            pending.looks += 1
            if pending.looks >= _LOOKS:
                log.warning("BIRDv%d: %s; it is asked again to read its configuration", family, pending.why)
                pending.asked = False
            pending.due = time.monotonic() + _FIRST_DELAY_S
        except birdctl.Unreachable as error:
            log.debug("BIRDv%d is not running yet; it is asked again", family)
            pending.why, pending.asked = str(error), bool(pending.written_s)
            pending.due = time.monotonic() + pending.backoff.next_delay_s()
        except birdctl.BirdError as error:
            log.warning("BIRDv%d did not take its new configuration: %s; trying again", family, error)
            pending.why, pending.asked = str(error), False
            pending.due = time.monotonic() + pending.backoff.next_delay_s()
        return False

    def _configure(self, family: int) -> None:
        lines = birdctl.ask(
            family, "configure", path=self.sockets.get(family, ""), timeout_s=_CONFIGURE_TIMEOUT_S
        )
        code, text = lines[-1][:4], lines[-1][5:]
        # 0003 Reconfigured, 0004 in progress, 0005 in progress, this one is next; others tell why not.
        if code not in ("0003", "0004", "0005", "0018"):
            raise birdctl.BirdError(text or "no answer")
        log.info("BIRDv%d: %s", family, text)

    def _different(self, family: int, pending: _Pending) -> str:
        with birdctl.Control(family, self.sockets.get(family, ""), _CONFIGURE_TIMEOUT_S) as control:
            status = control.ask("show status")
            if any("econfiguration in progress" in line for line in status):
                return "reconfiguration in progress"
            if _read_s(birdctl.parse_status(status).last_reconfiguration) < int(pending.written_s):
                return "it last read its configuration before that was written"
            running = {peer.name for peer in birdctl.parse_peers(control.ask("show protocols"), family)}
        sessions = pending.sessions
        if running == sessions:
            return ""
        lacking, beyond = sorted(sessions - running), sorted(running - sessions)
        return "; ".join(
            f"{what} {', '.join(names[:3])}{' and more' if len(names) > 3 else ''}"
            for what, names in (("it lacks", lacking), ("it still has", beyond))
            if names
        )


def _read_s(text: str) -> float:
    """Seconds since 1970 of BIRD's local time; far in the future where it cannot be read, so that nobody waits."""
    try:
        return time.mktime(time.strptime(text.partition(".")[0], "%Y-%m-%d %H:%M:%S"))
    except ValueError:
        return float("inf")
