"""Kernel settings under /proc/sys."""

from __future__ import annotations

from pathlib import Path

_ROOT = Path("/proc/sys")


def read(key: str) -> str | None:
    """The setting's text, None when there is no such setting. ``key`` is a path: ``net/ipv4/ip_forward``."""
    try:
        return (_ROOT / key).read_text().strip()
    except OSError:
        return None


def write(key: str, value: str) -> None:
    """Writes only when it differs. Raises OSError."""
    path = _ROOT / key
    if path.read_text().strip() != value:
        path.write_text(value)
