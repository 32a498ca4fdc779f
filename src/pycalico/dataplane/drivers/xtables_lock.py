"""Waits for the lock of legacy iptables where it can be seen waiting.

The programs wait by themselves and tell nobody how long and for whom. Here the wait is measured and its cause named.
"""

from __future__ import annotations

import fcntl
import logging
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pycalico.base.distribution import Distribution

log = logging.getLogger(__name__)

_TELL_AFTER_S = 1.0


class LockHeld(Exception):
    """Somebody did not give the lock back in time; the message names whom."""


class XtablesLock:
    """Only looks whether the lock is free: the program that is run next takes it.

    ``timeout_s`` is how long to wait, ``probe_s`` how often to look. While a program of ours writes it is ours.
    """

    def __init__(self, path: str, timeout_s: float, probe_s: float) -> None:
        #: Seconds waited for it.
        self.waits = Distribution()
        #: How often it was looked at in vain.
        self.retries = 0
        self._path = path
        self._timeout_s = timeout_s
        self._probe_s = probe_s
        self._gate = threading.Lock()
        self._writers = 0

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Raises LockHeld."""
        with self._gate:
            if not self._writers:
                self._wait()
            self._writers += 1
        try:
            yield
        finally:
            with self._gate:
                self._writers -= 1

    def _wait(self) -> None:
        began_s = time.monotonic()
        told = False
        try:
            lock = os.open(self._path, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            log.debug("cannot look at %s: %s", self._path, error.strerror)
            return
        try:
            while not _is_free(lock):
                self.retries += 1
                waited_s = time.monotonic() - began_s
                if waited_s >= self._timeout_s:
                    raise LockHeld(f"{self._path} is held by {_holder(lock)} for {waited_s:.0f} s already")
                if waited_s > _TELL_AFTER_S and not told:
                    told = True
                    log.warning("waiting for %s, held by %s", self._path, _holder(lock))
                time.sleep(self._probe_s)
        finally:
            os.close(lock)
            self.waits.add(time.monotonic() - began_s)


def _is_free(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    fcntl.flock(lock, fcntl.LOCK_UN)
    return True


def _holder(lock: int) -> str:
    """The process that the kernel names, as far as it can be seen from here."""
    inode = str(os.fstat(lock).st_ino)
    try:
        for line in Path("/proc/locks").read_text().splitlines():
            words = line.split()
            if len(words) > 5 and words[1] == "FLOCK" and words[5].rpartition(":")[2] == inode:
                pid = words[4]
                return f"{Path('/proc', pid, 'comm').read_text().strip()} ({pid})"
    except OSError:
        pass
    return "another process"
