"""Durations as Go writes them, and so Calico's resources and variables: ``1m30s``, ``300ms``, ``0s``."""

from __future__ import annotations

import re

_UNITS_NS = {
    "ns": 1, "us": 10**3, "µs": 10**3, "μs": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9,
}  # fmt: skip
_PART = re.compile(r"(\d+\.?\d*|\.\d+)(ns|us|µs|μs|ms|s|m|h)(?![^.\d])")
#: A number and what is no unit.
_UNKNOWN = re.compile(r"(?:\d+\.?\d*|\.\d+)([^.\d]+)")
_MOST_NS = 2**63 - 1


class DurationError(ValueError):
    """The text is no duration; the message is Go's."""


def parse_ns(text: str) -> int:
    """Nanoseconds. Raises DurationError."""
    rest = text[1:] if text[:1] in ("-", "+") else text
    if rest == "0":
        return 0
    if not rest:
        raise DurationError(f'time: invalid duration "{text}"')
    total, position = 0, 0
    while position < len(rest):
        match = _PART.match(rest, position)
        if match is None:
            if re.fullmatch(r"[\d.]+", rest[position:]):
                raise DurationError(f'time: missing unit in duration "{text}"')
            if unknown := _UNKNOWN.match(rest, position):
                raise DurationError(f'time: unknown unit "{unknown[1]}" in duration "{text}"')
            raise DurationError(f'time: invalid duration "{text}"')
        whole, _, fraction = match[1].partition(".")
        unit = _UNITS_NS[match[2]]
        total += int(whole or 0) * unit
        if fraction:
            total += int(fraction) * unit // 10 ** len(fraction)
        position = match.end()
    if total > _MOST_NS:
        raise DurationError(f'time: invalid duration "{text}"')
    return -total if text.startswith("-") else total


def render(nanoseconds: int) -> str:
    """``90000000000`` → ``1m30s``."""
    sign, left = ("-", -nanoseconds) if nanoseconds < 0 else ("", nanoseconds)
    if left < 10**9:
        for unit, size in (("ms", 10**6), ("µs", 10**3), ("ns", 1)):
            if left >= size:
                return f"{sign}{_decimal(left, size)}{unit}"
        return "0s"
    minutes, seconds = divmod(left, 60 * 10**9)
    hours, minutes = divmod(minutes, 60)
    text = f"{_decimal(seconds, 10**9)}s"
    if hours or minutes:
        text = f"{minutes}m{text}"
    return sign + (f"{hours}h{text}" if hours else text)


def parse_seconds(text: str) -> float:
    """Seconds. Raises DurationError."""
    return parse_ns(text) / 10**9


def render_seconds(seconds: float) -> str:
    return render(round(seconds * 10**9))


def normalised(text: str) -> str:
    """``60s`` → ``1m0s``. Raises DurationError."""
    return render(parse_ns(text))


def _decimal(value: int, unit: int) -> str:
    whole, part = divmod(value, unit)
    if not part:
        return str(whole)
    digits = str(part).rjust(len(str(unit)) - 1, "0").rstrip("0")
    return f"{whole}.{digits}"
