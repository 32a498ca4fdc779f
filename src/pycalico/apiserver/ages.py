"""How long ago something was, in kubectl's words."""

from __future__ import annotations

import datetime as dt


def age(text: str | None) -> str:
    """How long ago a time was, as kubectl words it: 5s, 3m20s, 2h, 4d3h."""
    if not text:
        return "<unknown>"
    then = dt.datetime.fromisoformat(text)
    seconds = int((dt.datetime.now(dt.UTC) - then).total_seconds())
    return duration(seconds)


def duration(seconds: int) -> str:
    if seconds < -1:
        return "<invalid>"
    seconds = max(seconds, 0)
    minutes, hours, days = seconds // 60, seconds // 3600, seconds // 86400
    if seconds < 120:
        return f"{seconds}s"
    if minutes < 10:
        return f"{minutes}m{seconds % 60}s" if seconds % 60 else f"{minutes}m"
    if minutes < 180:
        return f"{minutes}m"
    if hours < 8:
        return f"{hours}h{minutes % 60}m" if minutes % 60 else f"{hours}h"
    if hours < 48:
        return f"{hours}h"
    if days < 8:
        return f"{days}d{hours % 24}h" if hours % 24 else f"{days}d"
    if days < 730:
        return f"{days}d"
    return f"{days // 365}y{days % 365}d"
