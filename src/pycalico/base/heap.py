"""How the process keeps its memory: one node runs several of these programs, and each should stay small."""

from __future__ import annotations

import ctypes
import gc
from contextlib import suppress

_M_ARENA_MAX = -8


def keep_small() -> None:
    """Call before threads start.

    Threads share one malloc arena (otherwise each that once held a long list keeps what it took: 14 MiB at 5,000
    endpoints), and the collector looks for cycles less often: what a start loads has none.
    """
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)
    gc.set_threshold(20_000, 20, 50)


def settle() -> None:
    """What is there now stays: the collector need not look at it again."""
    gc.collect()
    gc.freeze()
