"""Durations in Go's spelling (``1h30m``, ``5m0s``, ``1.5s``), as Calico's resources and variables hold them."""

from __future__ import annotations

import re
from fractions import Fraction

_NANOSECONDS = {
    "ns": 1,
    "us": 1_000,
    "µs": 1_000,
    "μs": 1_000,
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "m": 60_000_000_000,
    "h": 3_600_000_000_000,
}
_PART = re.compile(r"(\d+\.?\d*|\.\d+)(ns|us|µs|μs|ms|s|m|h)")
_SECOND = 1_000_000_000


def parse_duration(text: str) -> float:
    """Seconds. Raises ValueError when ``text`` is no duration."""
    sign, rest = (-1, text[1:]) if text[:1] == "-" else (1, text.removeprefix("+"))
    if rest == "0":
        return 0.0
    total, at = Fraction(0), 0
    for part in _PART.finditer(rest):
        if part.start() != at:
            break
        total += Fraction(part[1].rstrip(".") if part[1] != "." else "0") * _NANOSECONDS[part[2]]
        at = part.end()
    if not rest or at != len(rest):
        raise ValueError(f"{text!r} is not a duration such as 5m or 1h30m")
    return sign * int(total) / _SECOND


def render_duration(seconds: float) -> str:
    """The canonical form: ``15m0s``, ``1.5s``, ``250ms``, ``0s``."""
    left = round(abs(seconds) * _SECOND)
    sign = "-" if seconds < 0 and left else ""
    if left == 0:
        return "0s"
    if left < _SECOND:
        unit, size = next((u, n) for u, n in (("ms", 10**6), ("µs", 10**3), ("ns", 1)) if left >= n)
        return f"{sign}{_decimal(left, size)}{unit}"
    hours, left = divmod(left, _NANOSECONDS["h"])
    minutes, left = divmod(left, _NANOSECONDS["m"])
    text = f"{hours}h" if hours else ""
    text += f"{minutes}m" if hours or minutes else ""
    return f"{sign}{text}{_decimal(left, _SECOND)}s"


def _decimal(value: int, size: int) -> str:
    whole, part = divmod(value, size)
    digits = str(part).rjust(len(str(size)) - 1, "0").rstrip("0") if part else ""
    return f"{whole}.{digits}" if digits else str(whole)
