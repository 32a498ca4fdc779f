"""How Felix's parameters are written: a parser for each type. Raises ValueError with what to write instead.

What counts as valid is what Calico v3.28.1 takes, blanks included: a blank before a number makes it invalid.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable

from pycalico.base import duration
from pycalico.dataplane.config import FailsafePort

_INT32 = 2**31
_MOST_PORT = 65535
#: Default, main and local: never used, whatever range holds them.
TABLES_RESERVED = range(253, 256)
#: The kernel counts tables in 32 bits.
_TABLES_LAST = 0xFFFFFFFF
_TABLES_MOST = 0xFFFF
_OLD_TABLES_LAST = 250
_LEAST_MARK_BITS = 2
_INTERFACE = r"[a-zA-Z0-9_-]{1,15}"
_REGION = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?")
_MOST_REGION = 63 - len("openstack-region-")


def boolean(text: str) -> bool:
    lower = text.lower()
    if lower in ("true", "1", "yes", "y", "t"):
        return True
    if lower in ("false", "0", "no", "n", "f"):
        return False
    raise ValueError("use true or false")


def _based(text: str) -> int:
    """An integer as Go reads it: a leading 0 means octal, underscores may stand between digits."""
    if text != text.strip():
        raise ValueError("use a number without blanks")
    return int(text, 8) if re.fullmatch(r"[+-]?0[0-7_]+", text) else int(text, 0)


def integer(text: str) -> int:
    found = _based(text)
    if not -_INT32 <= found < _INT32:
        raise ValueError("use a number of 32 bits")
    return found


def port(text: str) -> int:
    found = integer(text)
    if not 0 <= found <= _MOST_PORT:
        raise ValueError("ports are 0 to 65535")
    return found


def mark_mask(text: str) -> int:
    found = _based(text)
    if not 0 <= found < 2 * _INT32 or found.bit_count() < _LEAST_MARK_BITS:
        raise ValueError("use a mask of 32 bits with at least two of them set")
    return found


def number(text: str) -> float:
    """A decimal fraction. Upstream's special ones (inf, nan) are no times."""
    if not re.fullmatch(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?", text):
        raise ValueError("use a number")
    return float(text)


def text_line(text: str) -> str:
    if "\n" in text:
        raise ValueError("use a single line")
    return text


def log_prefix(text: str) -> str:
    # The text ends up in rules and in the kernel's log: iptables cuts it to 29 characters, nftables takes 127.
    if not re.fullmatch(r"[ -~]{1,125}", text) or '"' in text:
        raise ValueError("use up to 125 printable characters without quotes")
    return text


def one_of(*options: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        for option in options:
            if option.lower() == text.lower():
                return option
        raise ValueError(f"use one of {', '.join(options)}")

    return parse


def matching(pattern: str, what: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise ValueError(f"use {what}")
        return text

    return parse


interface_filter = matching(r"[a-zA-Z0-9:._+-]{1,15}", "an interface's name or the beginning of one with a +")
host_name = matching(r"[a-zA-Z0-9_.-]+", "a host's name")
host_address = matching(r"[a-zA-Z0-9:._+-]{1,64}", "a host's address or name")
authority = matching(r"[^:/]+:[0-9]+", "HOST:PORT")


def interface_prefixes(text: str) -> tuple[str, ...]:
    if not re.fullmatch(rf"{_INTERFACE}(,{_INTERFACE})*", text):
        raise ValueError("use the beginnings of interface names, joined by commas without blanks")
    return tuple(text.split(","))


def interface_patterns(text: str) -> tuple[str, ...]:
    """Names, and regular expressions between slashes."""
    items = tuple(text.split(","))
    for item in items:
        if re.fullmatch(r"/\S+/", item):
            re.compile(item[1:-1])
        elif not re.fullmatch(_INTERFACE, item):
            raise ValueError("use interface names or /regular expressions/, joined by commas without blanks")
    return items


def pattern(text: str) -> str:
    re.compile(text)
    return text


def items(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def address(family: int) -> Callable[[str], str]:
    def parse(text: str) -> str:
        found = ipaddress.ip_address(text)
        if found.version != family:
            raise ValueError(f"use an IPv{family} address")
        return str(found)

    return parse


def _cidr(text: str) -> str:
    return str(ipaddress.ip_network(text, strict=False))


def cidrs_v4(text: str) -> tuple[str, ...]:
    """Addresses count as networks of one."""
    found = tuple(_cidr(item) for item in items(text))
    if any(":" in item for item in found):
        raise ValueError("use IPv4 networks")
    return found


def failsafe_ports(text: str) -> tuple[FailsafePort, ...]:
    """``port``, ``proto:port``, ``proto:cidr:port`` or ``proto:[v6cidr]:port``."""
    found = []
    for item in items(text):
        match = re.fullmatch(r"(?:(tcp|udp):)?(?:\[([^\]]+)\]:|([0-9./]+):)?([0-9]+)", item, re.IGNORECASE)
        if not match or (match[3] and not match[1]):
            raise ValueError(f"{item} is no port")
        number = int(match[4])
        if number > _MOST_PORT:
            raise ValueError("ports are 0 to 65535")
        net = match[2] or match[3]
        found.append(FailsafePort((match[1] or "tcp").lower(), number, _cidr(net) if net else ""))
    return tuple(found)


def port_range(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"([0-9]+)(?::([0-9]+))?", text)
    if not match:
        raise ValueError("use a port or FIRST:LAST")
    low, high = int(match[1]), int(match[2] or match[1])
    if not low <= high <= _MOST_PORT:
        raise ValueError("ports are 0 to 65535, in ascending order")
    return low, high


def port_ranges(text: str) -> tuple[tuple[int, int], ...]:
    return tuple(port_range(item) for item in text.split(","))


def table_range(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"([0-9]+)-([0-9]+)", text)
    if not match or not 1 <= int(match[1]) <= int(match[2]) <= _OLD_TABLES_LAST:
        raise ValueError("use a range of tables within 1-250")
    return int(match[1]), int(match[2])


def table_ranges(text: str) -> tuple[tuple[int, int], ...]:
    found = tuple((int(low), int(high)) for low, high in re.findall(r"([0-9]+)-([0-9]+)", text))
    if not found or not all(1 <= low <= high <= _TABLES_LAST for low, high in found):
        raise ValueError("use the kernel's table numbers as FIRST-LAST, joined by commas")
    if sum(high - low for low, high in found) > _TABLES_MOST:
        raise ValueError("use fewer tables")
    return found


def pairs(text: str) -> dict[str, str]:
    """``key=value``, joined by commas."""
    found = {}
    for item in filter(None, text.split(",")):
        match = re.search(r"(\w+)=(.*)", item)
        if not match:
            raise ValueError(f"{item} is not of the form KEY=VALUE")
        found[match[1]] = match[2]
    return found


def switches(text: str) -> dict[str, bool]:
    """Pairs whose values are booleans; others are left out."""
    words = {"1": True, "t": True, "true": True, "0": False, "f": False, "false": False}
    return {key: words[word.lower()] for key, word in pairs(text).items() if word.lower() in words}


def timeouts(text: str) -> dict[str, float]:
    """Pairs whose values are durations; in seconds."""
    return {key: duration.parse_seconds(value.strip()) for key, value in pairs(text).items()}


def region(text: str) -> str:
    if len(text) > _MOST_REGION or not _REGION.fullmatch(text):
        raise ValueError(f"use a DNS label of up to {_MOST_REGION} characters")
    return text
