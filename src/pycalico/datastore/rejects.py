"""Objects that cannot be read: left out, named in the log, and counted, so that one never hides nor stops the others."""

from __future__ import annotations

import threading
from collections import Counter

_lock = threading.Lock()
_counts: Counter[str] = Counter()


def report(kind: str, reason: object) -> None:
    """``reason`` names the object."""
    import logging  # noqa: PLC0415 - 4 ms, and most have nothing to report

    with _lock:
        _counts[kind] += 1
    logging.getLogger(__name__).warning("leaving out a %s: %s", kind, reason)


def counts() -> dict[str, int]:
    """How many were left out since the process began, by kind; each time that one is met counts."""
    with _lock:
        return dict(_counts)
