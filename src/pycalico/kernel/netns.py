"""Network namespaces of the calling thread."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager

_CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)
_OURS = "/proc/thread-self/ns/net"


def _check(result: int, what: str) -> None:
    if result:
        raise OSError(ctypes.get_errno(), f"{what}: {os.strerror(ctypes.get_errno())}")


def enter(path: str) -> None:
    """Moves the calling thread (and what it starts) into the namespace at ``path``. Raises OSError."""
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        _check(_libc.setns(handle, _CLONE_NEWNET), f"enter {path}")
    finally:
        os.close(handle)


@contextmanager
def private() -> Iterator[None]:
    """A fresh namespace for the calling thread; gone with the last process in it. Raises OSError."""
    handle = os.open(_OURS, os.O_RDONLY | os.O_CLOEXEC)
    try:
        _check(_libc.unshare(_CLONE_NEWNET), "unshare")
        yield
    finally:
        _check(_libc.setns(handle, _CLONE_NEWNET), "return from the namespace")
        os.close(handle)
