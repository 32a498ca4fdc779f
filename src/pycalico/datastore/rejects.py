"""Objects that cannot be read: left out, named in the log, and counted, so that one never hides nor stops the others."""

from __future__ import annotations

import logging
import threading
from collections import Counter

log = logging.getLogger(__name__)

_lock = threading.Lock()
_counts: Counter[str] = Counter()


def report(kind: str, reason: object) -> None:
    """``reason`` names the object."""
    with _lock:
        _counts[kind] += 1
    log.warning("leaving out a %s: %s", kind, reason)


def counts() -> dict[str, int]:
    """How many were left out since the process began, by kind; each time that one is met counts."""
    with _lock:
        return dict(_counts)
