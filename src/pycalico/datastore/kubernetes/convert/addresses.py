"""Addresses in core objects. IPv4 the short way: thousands are read, and ``ipaddress`` takes 3 ms to load, 5 µs each."""

from __future__ import annotations

import socket
from types import ModuleType

_V4_WHOLE = 32


def _is_v4(text: str) -> bool:
    """Whether it is an IPv4 address as it is spelled canonically."""
    try:
        socket.inet_pton(socket.AF_INET, text)
    except (OSError, ValueError):
        return False
    return True


def _ipaddress() -> ModuleType:
    import ipaddress  # noqa: PLC0415

    return ipaddress


def address(text: str) -> str:
    """``10.0.0.1``, canonical. Raises ValueError."""
    return text if _is_v4(text) else str(_ipaddress().ip_address(text))


def interface(text: str) -> str:
    """``10.0.0.1/24`` or ``10.0.0.1``, as it is. Raises ValueError."""
    host, slash, length = text.partition("/")
    known = _is_v4(host) and (
        not slash or (length.isdecimal() and len(length) < 3 and int(length) <= _V4_WHOLE)
    )
    if not known:
        _ipaddress().ip_interface(text)
    return text


def whole(text: str) -> str:
    """``10.0.0.1`` or ``10.0.0.1/24`` → ``10.0.0.1/32``. Raises ValueError."""
    host, _, length = text.partition("/")
    if length in ("", "32") and _is_v4(host):
        return f"{host}/32"
    found = _ipaddress()
    return str(found.ip_network(found.ip_interface(text).ip))


def network(text: str) -> str:
    """``10.0.0.1/24`` → ``10.0.0.0/24``. Raises ValueError."""
    return str(_ipaddress().ip_network(text, strict=False))
