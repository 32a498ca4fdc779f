"""Services that wait nearly all the time. What they do now and then is done in a child, whose memory goes with it:
the one that waits takes less than half of what it would with all that loaded. So it imports next to nothing.
"""

from __future__ import annotations

import ctypes
import os
import random
import select
import signal
import socket
import sys
import time
from collections.abc import Callable

_GROUP_IPV4_ADDRESSES = 0x10
_GROUP_IPV6_ADDRESSES = 0x100
_PR_SET_PDEATHSIG = 1
#: After a child that ended without an answer.
_FAILED_S = 5.0
#: However busy the links are, no more than one look in this time.
_LEAST_BETWEEN_S = 2.0
#: Where RTM_NEWADDR and RTM_DELADDR have the address's scope (linux/netlink.h, if_addr.h), and that of a single link.
_NETLINK_HEADER, _SCOPE, _SCOPE_LINK = 16, 3, 253


def monitor_token() -> int:
    """``calico-node -monitor-token``."""
    while True:
        wait_s = work(_renew_token)
        if wait_s is None:
            return 1
        time.sleep(wait_s * (1 + random.random()))  # noqa: S311 - spreads the load of many nodes


def monitor_addresses() -> int:
    """``calico-node -monitor-addresses``."""
    changes = _address_changes()
    interval_s = work(_interval)
    if interval_s is None:
        return 1
    while True:
        _wait(changes, interval_s)
        if work(_look_at_addresses) is None:
            return 1


def _renew_token() -> float | None:
    from pycalico.node import token  # noqa: PLC0415 - in the child alone, as below

    return token.renew()


def _interval() -> float | None:
    from pycalico.node import monitor  # noqa: PLC0415

    return monitor.begin()


def _look_at_addresses() -> float | None:
    from pycalico.node import monitor  # noqa: PLC0415

    return monitor.check()


def work(job: Callable[[], float | None]) -> float | None:
    """What ``job`` returned in a child: seconds to wait, or None, when there is no point in going on."""
    readable, writable = os.pipe()
    child = os.fork()
    if child == 0:
        _in_child(job, writable)
    os.close(writable)
    with os.fdopen(readable) as answer:
        text = answer.read()
    os.waitpid(child, 0)
    if text == "None":
        return None
    return float(text) if text else _FAILED_S


def _in_child(job: Callable[[], float | None], writable: int) -> None:
    code = 1
    try:
        # The supervisor knows only the parent.
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        from pycalico.base import lean  # noqa: PLC0415

        lean.load()
        os.write(writable, str(job()).encode())
        code = 0
    except BaseException as error:  # noqa: BLE001 - whatever it is, this process ends here
        os.write(1, f"{type(error).__name__}: {error}\n".encode())
    finally:
        os._exit(code)


def _address_changes() -> socket.socket | None:
    """The kernel's announcements of addresses; None where they cannot be had, and polling must do."""
    try:
        found = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
        found.bind((0, _GROUP_IPV4_ADDRESSES | _GROUP_IPV6_ADDRESSES))
        found.setblocking(False)
    except OSError:
        return None
    return found


def _wait(changes: socket.socket | None, interval_s: float) -> None:
    """Until the interval is over, or an address came or went and things have settled."""
    if changes is None:
        time.sleep(interval_s)
        return
    least = min(_LEAST_BETWEEN_S, interval_s)
    time.sleep(least)
    ends_s = time.monotonic() + interval_s - least
    while True:
        readable, _, _ = select.select([changes], [], [], max(0.0, ends_s - time.monotonic()))
        if not readable or _news(changes):
            return


def _news(changes: socket.socket) -> bool:
    """Takes all that has been announced. Each pod's interface has an address of its link, which no node is known by."""
    found = False
    while True:
        try:
            found = _matters(changes.recv(1 << 16)) or found
        except BlockingIOError:
            return found
        except OSError:  # the kernel dropped some: there was news all the same
            found = True


def _matters(announced: bytes) -> bool:
    """Whether one of the messages is of an address that counts beyond its link. What cannot be read does."""
    while announced:
        length = int.from_bytes(announced[:4], sys.byteorder)
        if length < _NETLINK_HEADER or len(announced) <= _NETLINK_HEADER + _SCOPE:
            return True
        if announced[_NETLINK_HEADER + _SCOPE] != _SCOPE_LINK:
            return True
        announced = announced[(length + 3) & ~3 :]
    return False
