"""Helps new sessions to open, by BIRD's control socket alone: nothing of it is in the configuration.

BIRD looks at its timers when something wakes it, up to a second late: being asked something wakes it.

Sessions of BGPPeers between nodes have no ``passive on`` (Calico v3.28.1's configuration, which operators compare).
A timer that is late fires when the neighbour's connection wakes BIRD; then there are two connections, BIRD takes the
second for a restart of the neighbour, drops the first, and both sides start over, in step, for up to half a minute.
So the node with the smaller address puts its own attempt off for a while, by restarting the protocol; it accepts
meanwhile. A session that has routes is never touched: they would go.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Mapping

from pycalico.bgp import birdctl

log = logging.getLogger(__name__)

_STEP_S = 0.25
#: How long BIRD is woken: its delay before it connects is two of its seconds.
_WAKE_S = 4.0
#: BIRD connects one second after a protocol's start at the earliest.
_PUT_OFF_S = 0.8
#: Then it may try itself, for the other side may be unable to; and so on, more rarely after a minute.
_YIELD_S = 12.0
_TURN_S = 20.0
_LATE_TURN_S = 60.0
_WAITING = ("Idle", "Connect", "Active")
_IMPORTED = re.compile(r"(\d+) imported")


class Openings:
    """``sockets`` as Reloader's."""

    def __init__(self, sockets: Mapping[int, str] | None = None) -> None:
        self._sockets = sockets or {}
        self._families: dict[int, _Family] = {}

    def begin(self, yielding: Mapping[int, frozenset[str]]) -> None:
        """Families whose sessions have just changed → protocols that are to be opened by the other side."""
        for number, names in yielding.items():
            self._families[number] = _Family(number, self._sockets.get(number, ""), names)

    def run(self) -> float | None:
        """Does what is due; returns in how many seconds there is more to do, or None."""
        for number, family in list(self._families.items()):
            if not family.run():
                del self._families[number]
        return min((family.step_s() for family in self._families.values()), default=None)


class _Family:
    def __init__(self, number: int, socket: str, names: frozenset[str]) -> None:
        self._number, self._socket, self._names = number, socket, set(names)
        self._began_s = self._put_off_s = time.monotonic()
        self._looked_s = 0.0

    def run(self) -> bool:
        """Tells whether there is more to do."""
        now = time.monotonic()
        age_s = now - self._began_s
        if now - self._looked_s < (_STEP_S / 2 if age_s < _WAKE_S else _PUT_OFF_S / 2):
            return True
        self._looked_s = now
        try:
            with birdctl.Control(self._number, self._socket) as control:
                peers = birdctl.parse_peers(control.ask("show protocols"), self._number)
                closed = {peer.name for peer in peers if not peer.established}
                self._names -= {peer.name for peer in peers if peer.established}
                if self._names and _yields(age_s) and now - self._put_off_s >= _PUT_OFF_S:
                    self._put_off_s = now
                    self._put_off(control, {peer.name: peer.info.split(" ")[0] for peer in peers})
        except birdctl.BirdError as error:
            log.debug("BIRDv%d: %s", self._number, error)
            closed = {"?"}
        return bool(self._names) or (bool(closed) and age_s < _WAKE_S)

    def step_s(self) -> float:
        return _STEP_S if time.monotonic() - self._began_s < _WAKE_S else _PUT_OFF_S

    def _put_off(self, control: birdctl.Control, states: Mapping[str, str]) -> None:
        for name in self._names:
            if states.get(name) in _WAITING and not _has_routes(control, name):
                control.ask(f"restart {name}")


def _yields(age_s: float) -> bool:
    return age_s % (_TURN_S if age_s < _LATE_TURN_S else _LATE_TURN_S) < _YIELD_S


def _has_routes(control: birdctl.Control, name: str) -> bool:
    """BIRD keeps those of a neighbour that restarts. What cannot be read counts as some."""
    found = _IMPORTED.search("\n".join(control.ask(f"show protocols all {name}")))
    return found is None or found[1] != "0"
