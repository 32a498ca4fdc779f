"""Being in another network namespace for a moment.

A socket belongs to the namespace in which it was made, so that is all a client needs. Only the calling thread moves.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager

_CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


def join_network(path: str) -> None:
    """Moves the calling thread into the namespace at ``path``. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if _libc.setns(descriptor, _CLONE_NEWNET) != 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code), path)
    finally:
        os.close(descriptor)


@contextmanager
def inside_network(path: str) -> Iterator[None]:
    home = "/proc/thread-self/ns/net"
    descriptor = os.open(home, os.O_RDONLY | os.O_CLOEXEC)
    try:
        join_network(path)
        try:
            yield
        finally:
            if _libc.setns(descriptor, _CLONE_NEWNET) != 0:
                raise SystemExit("lab: cannot return to the own network namespace")
    finally:
        os.close(descriptor)
