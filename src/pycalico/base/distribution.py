"""How values are spread: all of them by count and sum, the last ten minutes by quantiles."""

from __future__ import annotations

import time
from collections import deque

_KEPT = 500
_KEPT_S = 600.0


class Distribution:
    """Add from one thread, read from any. Of more than 500 values in ten minutes the last 500 make the quantiles."""

    def __init__(self) -> None:
        self.count = 0
        self.total = 0.0
        self._recent: deque[tuple[float, float]] = deque(maxlen=_KEPT)

    def add(self, value: float) -> None:
        self.count += 1
        self.total += value
        self._recent.append((time.monotonic(), value))

    def quantiles(self, *wanted: float) -> list[float]:
        """Of each share (0.5 is the median) the least value that so many do not exceed; NaN when nothing is known."""
        since_s = time.monotonic() - _KEPT_S
        values = sorted(value for seen_s, value in list(self._recent) if seen_s >= since_s)
        if not values:
            return [float("nan")] * len(wanted)
        return [values[min(int(share * len(values)), len(values) - 1)] for share in wanted]

    def merge(self, other: Distribution) -> None:
        """Takes in what the other has seen."""
        self.count += other.count
        self.total += other.total
        self._recent.extend(list(other._recent))
