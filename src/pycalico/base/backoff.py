"""Waiting longer after each failure."""

from __future__ import annotations

import random

_chance = random.Random()  # noqa: S311 - spreads load, hides nothing


class Backoff:
    """Delays in seconds that double from ``first_s`` to ``most_s``, each lengthened by up to ``jitter`` of itself."""

    def __init__(self, first_s: float, most_s: float, jitter: float = 0.1) -> None:
        self._first_s = first_s
        self._most_s = most_s
        self._jitter = jitter
        self._next_s = first_s

    def next_delay_s(self) -> float:
        delay_s = self._next_s
        self._next_s = min(self._next_s * 2, self._most_s)
        return delay_s * (1 + _chance.random() * self._jitter)

    def reset(self) -> None:
        self._next_s = self._first_s
