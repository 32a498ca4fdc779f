"""The lock that the plugin processes of a host share, upstream's too: one does IPAM at a time."""

from __future__ import annotations

import fcntl
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

log = logging.getLogger(__name__)


@contextmanager
def held(path: str) -> Iterator[None]:
    """An advisory lock on ``path``, free at once when its holder dies. Failing to take it is only logged."""
    descriptor = -1
    try:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    except OSError as error:
        log.warning("cannot lock %s: %s; going on without", path, error.strerror)
    try:
        yield
    finally:
        if descriptor >= 0:
            os.close(descriptor)
