"""Rules for single values. Each tells whether a value holds; what an empty value means is the field's affair."""

from __future__ import annotations

import base64
import binascii
import ipaddress
import re
import warnings

from pycalico.api import selector

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

LABEL = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
SUBDOMAIN = LABEL + r"(\." + LABEL + ")*"
LONGEST_NAME = 253

_SUBDOMAIN = re.compile(SUBDOMAIN)
_LABEL = re.compile(LABEL)
_INTERFACE = re.compile(r"[a-zA-Z0-9_.-]{1,15}")
_INTERFACE_PATTERN = re.compile(r"[a-zA-Z0-9_.*-]{1,15}")
_INTERFACE_FILTER = re.compile(r"[a-zA-Z0-9:._+-]{1,15}")
_CONTAINER_ID = re.compile(r"[a-zA-Z0-9]([-a-zA-Z0-9]*[a-zA-Z0-9])?")
_PORT_NAME = re.compile(r"[a-z0-9-]{1,15}")
_MAC = re.compile(
    r"([0-9a-fA-F]{2}([:-])[0-9a-fA-F]{2}(\2[0-9a-fA-F]{2}){4,18}|([0-9a-fA-F]{4}\.){2,9}[0-9a-fA-F]{4})"
)
_IPV4_PORT = re.compile(r"(\d+\.\d+\.\d+\.\d+):(\d+)")
_IPV6_PORT = re.compile(r"\[([0-9a-fA-F:.]+)\]:(\d+)")
_PAIR = re.compile(r"\s*\w+=.*")
_PROMETHEUS_HOST = re.compile(r"[a-zA-Z0-9:._+-]{1,64}")
#: Of ``::ffff:1.2.3.4``, before the address of IPv4.
_MAPPED_BITS = 96
_NOT_IN_GO = re.compile(r"(?<!\\)(?:\\\\)*(?:\(\?(?:[=!>(]|<[=!])|\\[1-9]|[*+?}]\+)")
_NAMED_GROUP = re.compile(r"\(\?<(?![=!])")
_REPEATS = re.compile(r"(?<!\\)\{(\d+)(?:,\d*)?\}")
_MOST_REPEATS = 1000
_LEVELS = ("Debug", "Info", "Warning", "Error", "Fatal")


def address(text: str) -> Address | None:
    """None when it is no address; a zone is not accepted."""
    if "%" in text:
        return None
    try:
        found = ipaddress.ip_address(text)
    except ValueError:
        return None
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped is not None:
        return found.ipv4_mapped
    return found


def parts(text: str) -> tuple[Address, Network] | None:
    """Address and network of a CIDR, or of an address with a full mask; None when it is neither."""
    host, slash, length = text.partition("/")
    found = address(host)
    if isinstance(found, ipaddress.IPv4Address) and ":" in host and length.isdigit():
        if not int(length) >= _MAPPED_BITS:
            return None
        length = str(int(length) - _MAPPED_BITS)
    if found is None or (slash and not length.isdigit()):
        return None
    try:
        return found, ipaddress.ip_network(f"{found}/{length or found.max_prefixlen}", strict=False)
    except ValueError:
        return None


def is_name(text: str) -> bool:
    return _SUBDOMAIN.fullmatch(text) is not None


def is_label(text: str) -> bool:
    return _LABEL.fullmatch(text) is not None


def is_selector(text: str) -> bool:
    try:
        selector.parse(text)
    except selector.SelectorError:
        return False
    return True


def is_cidr(text: str) -> bool:
    """Upstream takes empty text for an address as well."""
    return not text or parts(text) is not None


def is_cidr_v4(text: str) -> bool:
    found = parts(text)
    return found is not None and found[0].version == 4


def is_cidr_v6(text: str) -> bool:
    found = parts(text)
    return found is not None and found[0].version == 6


def is_net(text: str) -> bool:
    """A CIDR without host bits, or an address; as with ``is_cidr``, empty text."""
    found = parts(text)
    return not text or (found is not None and found[0] == found[1].network_address)


def is_net_v4(text: str) -> bool:
    return is_net(text) and is_cidr_v4(text)


def is_net_v6(text: str) -> bool:
    return is_net(text) and is_cidr_v6(text)


def are_cidrs(texts: list[str]) -> bool:
    return all(map(is_cidr, texts))


def is_ip(text: str) -> bool:
    return address(text) is not None


def is_ipv4(text: str) -> bool:
    found = address(text)
    return found is not None and found.version == 4


def is_ipv6(text: str) -> bool:
    found = address(text)
    return found is not None and found.version == 6


def peer_address(text: str) -> Address | None:
    """The address of ``1.2.3.4``, ``1.2.3.4:179`` or ``[::1]:179``; None when it is none of these."""
    match = _IPV4_PORT.fullmatch(text) or _IPV6_PORT.fullmatch(text)
    if match is None:
        return address(text)
    return address(match[1]) if 1 <= int(match[2]) <= 65535 else None


def is_peer(text: str) -> bool:
    return peer_address(text) is not None


def is_interface(text: str) -> bool:
    return text == "*" or _INTERFACE.fullmatch(text) is not None


def is_filter_interface(text: str) -> bool:
    return _INTERFACE_PATTERN.fullmatch(text) is not None


def is_ignored_interface(text: str) -> bool:
    return text != "*" and _INTERFACE_PATTERN.fullmatch(text) is not None


def is_interface_filter(text: str) -> bool:
    return _INTERFACE_FILTER.fullmatch(text) is not None


def are_interface_filters(texts: list[str]) -> bool:
    return all(map(is_interface_filter, texts))


def are_log_filters(filters: dict[str, str]) -> bool:
    return all(_INTERFACE.fullmatch(name) for name in filters)


def is_container_id(text: str) -> bool:
    return _CONTAINER_ID.fullmatch(text) is not None


def is_port_name(text: str) -> bool:
    return (
        _PORT_NAME.fullmatch(text) is not None
        and any(character.isalpha() for character in text)
        and "--" not in text
        and not text.startswith("-")
        and not text.endswith("-")
    )


def is_mac(text: str) -> bool:
    return _MAC.fullmatch(text) is not None


def is_log_level(text: str) -> bool:
    return text in _LEVELS


def is_pattern(text: str) -> bool:
    """Whether Go would take it, which looks neither ahead nor back, and repeats nothing more than 1000 times."""
    if _NOT_IN_GO.search(text) or any(int(count) > _MOST_REPEATS for count in _REPEATS.findall(text)):
        return False
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            re.compile(_NAMED_GROUP.sub("(?P<", text))
    except re.error:
        return False
    return True


def are_pairs(text: str) -> bool:
    """``key=value`` items with commas between; empty items are fine."""
    return not text.strip() or all(not item or _PAIR.fullmatch(item) for item in text.split(","))


def is_prometheus_host(text: str) -> bool:
    return _PROMETHEUS_HOST.fullmatch(text) is not None


def is_wireguard_key(text: str) -> bool:
    try:
        return len(base64.b64decode(text, validate=True)) == 32
    except (binascii.Error, ValueError):
        return False


def supports_ports(protocol: int | str | None) -> bool:
    if isinstance(protocol, str) and protocol.isdigit():
        protocol = int(protocol)
    return protocol in (6, 17, 132, "TCP", "UDP", "SCTP", "tcp", "udp", "sctp")


def one_of(*names: str) -> Choice:
    return Choice(names)


class Choice:
    """Holds for the given names."""

    def __init__(self, names: tuple[str, ...]) -> None:
        self._names = names

    def __call__(self, value: str) -> bool:
        return value in self._names
