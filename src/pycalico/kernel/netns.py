"""Network namespaces of the calling thread.

``os`` has their calls from Python 3.12 on. Here ``_ctypes`` makes them, without ``ctypes`` around it, which defines a class for
each kind of number: 11 of the 210 million instructions of a plugin's ADD (measured with callgrind).
"""

from __future__ import annotations

import _ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager

_CLONE_NEWNET = 0x40000000
_OURS = "/proc/thread-self/ns/net"


class _Call(_ctypes.CFuncPtr):
    """A function of libc; its result is an int, as nothing else is said."""

    _flags_ = _ctypes.FUNCFLAG_CDECL | _ctypes.FUNCFLAG_USE_ERRNO


_libc = _ctypes.dlopen(None, 0)  # type: ignore[arg-type] # what is loaded already
_setns, _unshare = _Call(_ctypes.dlsym(_libc, "setns")), _Call(_ctypes.dlsym(_libc, "unshare"))


def _check(result: int, what: str) -> None:
    if result:
        raise OSError(_ctypes.get_errno(), f"{what}: {os.strerror(_ctypes.get_errno())}")


def enter(path: str) -> None:
    """Moves the calling thread (and what it starts) into the namespace at ``path``. Raises OSError."""
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        _check(_setns(handle, _CLONE_NEWNET), f"enter {path}")
    finally:
        os.close(handle)


@contextmanager
def private() -> Iterator[None]:
    """A fresh namespace for the calling thread; gone with the last process in it. Raises OSError."""
    handle = os.open(_OURS, os.O_RDONLY | os.O_CLOEXEC)
    try:
        _check(_unshare(_CLONE_NEWNET), "unshare")
        yield
    finally:
        _check(_setns(handle, _CLONE_NEWNET), "return from the namespace")
        os.close(handle)
