"""Addresses and networks as text in one canonical form, so that equal ones are equal strings."""

from __future__ import annotations

import ipaddress
from functools import lru_cache


@lru_cache(maxsize=65536)
def network(text: str) -> str:
    """``10.1.2.3`` → ``10.1.2.3/32``; host bits are dropped. Raises ValueError."""
    return str(ipaddress.ip_network(text, strict=False))


def networks(texts: list[str]) -> tuple[str, ...]:
    return tuple(network(text) for text in texts)


@lru_cache(maxsize=65536)
def address(text: str) -> str:
    """The address of ``text``, which may carry a prefix length. Raises ValueError."""
    return str(ipaddress.ip_interface(text).ip)


def is_ipv6(text: str) -> bool:
    return ":" in text


@lru_cache(maxsize=65536)
def members(net: str) -> tuple[str, ...]:
    """A network as members of an IP set: the whole range must be two halves, since the kernel's sets have no /0."""
    if net == "0.0.0.0/0":
        return ("0.0.0.0/1", "128.0.0.0/1")
    if net == "::/0":
        return ("::/1", "8000::/1")
    return (net,)
