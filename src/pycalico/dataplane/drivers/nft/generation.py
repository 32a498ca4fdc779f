"""Tells whether somebody else changed nf_tables: the kernel counts transactions, and we count ours."""

from __future__ import annotations

import threading

from pycalico.kernel.nfnetlink import Channel, NftablesError


class Generation:
    """One for all tables of a network namespace; `count_own` may be called from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._own = 0
        self._known: int | None = None
        self._channel: Channel | None = None

    def count_own(self) -> None:
        with self._lock:
            self._own += 1

    def changed(self) -> bool:
        """True when there were transactions of others since the last call. Not while one of ours is under way."""
        try:
            if self._channel is None:
                self._channel = Channel()
            now = self._channel.generation()
        except NftablesError:
            return True
        with self._lock:
            known, self._known = self._known, now
            own, self._own = self._own, 0
        return known is None or (known + own) & 0xFFFFFFFF != now

    def close(self) -> None:
        if self._channel:
            self._channel.close()
            self._channel = None
