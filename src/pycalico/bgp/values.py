"""The only door for text from the datastore into a BIRD configuration.

Each function returns a value that is safe to write at its place, or None when the given one is not; nothing
else may be pasted into a statement. BIRD's strings know no escapes, so a string with a quote cannot be written.
"""

from __future__ import annotations

import ipaddress
import re

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_MOST_AS = 2**32 - 1
_SYMBOL = re.compile(r"[A-Za-z0-9._-]+")
#: Kernel interface names and BIRD's shell patterns over them.
_INTERFACE = re.compile(r"[A-Za-z0-9._:@+=*?-]{1,64}")
#: BIRD keeps a password in 80 bytes (the kernel's limit for TCP MD5 keys).
_PASSWORD = re.compile(r"[^\"\\\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]{1,80}")
_STANDARD = re.compile(r"(\d{1,5}):(\d{1,5})")
_LARGE = re.compile(r"(\d{1,10}):(\d{1,10}):(\d{1,10})")
_DURATION = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|μs|ms|s|m|h)")
_UNIT_S = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


def address(text: str) -> Address | None:
    """An address in its canonical form; no zone, no prefix length."""
    try:
        found = ipaddress.ip_address(text)
    except ValueError:
        return None
    return None if isinstance(found, ipaddress.IPv6Address) and found.scope_id else found


def neighbour(found: Address) -> bool:
    """Whether BIRD takes it as the other end of a session: no group, no link-local address, not the empty one."""
    broadcast = isinstance(found, ipaddress.IPv4Address) and int(found) == 0xFFFFFFFF
    local = isinstance(found, ipaddress.IPv6Address) and found.is_link_local
    return not (found.is_unspecified or found.is_multicast or broadcast or local)


def interface_address(text: str) -> tuple[Address, Network] | None:
    """``192.168.10.10/24`` → the address and its network; without a length the network is the address."""
    try:
        found = ipaddress.ip_interface(text)
    except ValueError:
        return None
    # The library drops a zone here; an address that needs one is no node's.
    return None if "%" in text else (found.ip, found.network)


def network(text: str) -> Network | None:
    """A CIDR, host bits cleared."""
    try:
        found = ipaddress.ip_network(text, strict=False)
    except ValueError:
        return None
    if isinstance(found, ipaddress.IPv6Network) and found.network_address.scope_id:
        return None
    return found


def as_number(value: int | str | None) -> int | None:
    """1 to 4294967295, from a number, its digits or the dotted form ``1.10``; None for anything else and for 0."""
    if value is None:
        return None
    high, dot, low = str(value).partition(".")
    if not (high.isascii() and high.isdigit() and (not dot or (low.isascii() and low.isdigit()))):
        return None
    if dot and (int(high) > 0xFFFF or int(low) > 0xFFFF):
        return None
    number = (int(high) << 16) + int(low) if dot else int(high)
    return number if 0 < number <= _MOST_AS else None


def port(value: int) -> int | None:
    return value if 0 < value <= 0xFFFF else None


def router_id(text: str) -> str | None:
    """Dotted IPv4, as ``router id`` and ``rr cluster id`` want it, and not 0.0.0.0."""
    found = address(text)
    return str(found) if isinstance(found, ipaddress.IPv4Address) and int(found) else None


def hashed_router_id(node: str) -> str:
    """``CALICO_ROUTER_ID=hash``: four bytes of the name's SHA-256, kept below the multicast range."""
    import hashlib  # noqa: PLC0415 - loads OpenSSL, which most who ask about values do without

    digest = bytearray(hashlib.sha256(node.encode()).digest()[:4])
    if digest[0] > 223:
        digest[0] -= 32
    return ".".join(str(byte) for byte in digest)


def symbol(text: str) -> str | None:
    """The part of a quoted BIRD name that a resource's name may fill."""
    return text if _SYMBOL.fullmatch(text) else None


def interface_pattern(text: str) -> str | None:
    return text if _INTERFACE.fullmatch(text) else None


def password(text: str) -> str | None:
    """None for what BIRD's grammar cannot hold (quotes, backslashes, what ends a line, over 80 bytes)."""
    return text if _PASSWORD.fullmatch(text) and len(text.encode()) <= 80 else None


def community(text: str) -> tuple[int, ...] | None:
    """``64512:100`` (two 16-bit numbers) or ``1:2:3`` (three 32-bit numbers)."""
    for pattern, most in ((_STANDARD, 0xFFFF), (_LARGE, 0xFFFFFFFF)):
        match = pattern.fullmatch(text)
        if match:
            numbers = tuple(int(part) for part in match.groups())
            return numbers if max(numbers) <= most else None
    return None


def duration_s(text: str) -> float | None:
    """Seconds of a Go duration that is not negative (``1h30m``, ``250ms``, ``0``)."""
    if text in ("0", "0s"):
        return 0.0
    matches = list(_DURATION.finditer(text))
    if not matches or "".join(match[0] for match in matches) != text:
        return None
    return sum(float(match[1]) * _UNIT_S[match[2]] for match in matches)


def text_of_comment(text: str) -> str:
    """What may stand behind ``#``: one line of printable characters."""
    return "".join(char if char.isprintable() else "?" for char in text)[:200]
