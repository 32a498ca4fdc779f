"""Sends a packet to find out whether the rules that were written judge any."""

from __future__ import annotations

import logging
import re
import socket
import time

from pycalico.dataplane.drivers.backend import Programs
from pycalico.kernel import command

log = logging.getLogger(__name__)

_TRIES, _WAIT_S = 3, 0.2
_LOCALHOST = {4: (socket.AF_INET, "127.0.0.1"), 6: (socket.AF_INET6, "::1")}
_DISCARD = 9
#: Our rule in raw's OUTPUT, which every packet of the host meets before anybody else's.
_OURS = re.compile(r"^\[(\d+):\d+\] -A OUTPUT .*-j cali-OUTPUT$", re.MULTILINE)


def complaint(programs: Programs) -> str:
    """What an operator should know; empty when the rules see packets, or when it cannot be told.

    Others may set counters back meanwhile, so it is tried three times.
    """
    for tries_left in reversed(range(_TRIES)):
        before = _count(programs)
        if before is None or not _send(programs.family):
            return ""
        after = _count(programs)
        if after is None or after > before:
            return ""
        if tries_left:
            time.sleep(_WAIT_S)
    return (
        f"packets of this host do not reach the rules in iptables' {programs.variant} tables (raw OUTPUT, "
        f"IPv{programs.family}): another rule takes them before, or IptablesBackend is the wrong one"
    )


def _count(programs: Programs) -> int | None:
    try:
        found = _OURS.search(command.check([programs.save, "-c", "-t", "raw"]).out)
    except command.CommandError as error:
        log.debug("cannot read counters: %s", error)
        return None
    return int(found.group(1)) if found else None


def _send(family: int) -> bool:
    kind, address = _LOCALHOST[family]
    try:
        with socket.socket(kind, socket.SOCK_DGRAM) as sender:
            sender.sendto(b"", (address, _DISCARD))
    except OSError as error:
        # A rule may refuse it at once: then it was judged, by whomever.
        log.debug("cannot send to %s: %s", address, error.strerror)
        return isinstance(error, PermissionError)
    return True
