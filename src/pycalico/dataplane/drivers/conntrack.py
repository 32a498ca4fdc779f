"""Forgets the connections of an address that left, so that its next holder does not inherit them."""

from __future__ import annotations

import logging
from concurrent.futures import Future, ThreadPoolExecutor

from pycalico.kernel import command

log = logging.getLogger(__name__)

_TRIES = 4
_WAIT_MOST_S = 10.0


class ConntrackCleaner:
    """Works in the background; `wait` before the address is given a route again."""

    def __init__(self, workers: int = 4) -> None:
        self._told = ""
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="conntrack")
        self._running: dict[str, Future[None]] = {}

    def start(self, cidr: str) -> None:
        """``cidr`` is a whole address."""
        self._running = {key: future for key, future in self._running.items() if not future.done()}
        if cidr not in self._running:
            self._running[cidr] = self._pool.submit(self._forget, cidr.partition("/")[0])

    def wait(self, cidr: str) -> None:
        future = self._running.pop(cidr, None)
        if future is not None:
            try:
                future.result(timeout=_WAIT_MOST_S)
            except TimeoutError:
                log.warning("conntrack still works on %s: going on without it", cidr)

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _forget(self, address: str) -> None:
        """Why it does not work is told once, not for every address."""
        reason = _forget(address)
        if reason and reason != self._told:
            log.warning("open connections of addresses that leave are not forgotten: %s", reason)
        self._told = reason


def _forget(address: str) -> str:
    """Returns why it did not work."""
    family = "ipv6" if ":" in address else "ipv4"
    for direction in ("--orig-src", "--reply-src"):
        for tries_left in reversed(range(_TRIES)):
            try:
                done = command.run(
                    ["conntrack", "--family", family, "--delete", direction, address], timeout_s=10
                )
            except command.CommandError as error:
                return str(error)
            # "0 flow entries" goes with exit code 1 and means that there was nothing to forget.
            if not done.code or "0 flow entries" in done.err:
                break
            if not tries_left:
                return command.last_line(done.err)
    return ""
