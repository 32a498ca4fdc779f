"""Which of the machine's addresses is the node's: the methods of IP_AUTODETECTION_METHOD. Pure.

Interfaces come with the highest index first, as upstream visits them.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterator, Sequence

import msgspec

Address = ipaddress.IPv4Interface | ipaddress.IPv6Interface
#: Interfaces of container runtimes and of Calico itself.
EXCLUDED = (
    "^docker.*", "^cbr.*", "^dummy.*", "^podman.*", "^virbr.*", "^lxcbr.*", "^veth.*", "^lo", "^br-.*", "^cali.*",
    "^tunl.*", "^flannel.*", "^kube-ipvs.*", "^cni.*", r"^vxlan\.calico.*", r"^vxlan-v6\.calico.*",
    r"^wireguard\.cali.*", r"^wg-v6\.cali.*", "^nodelocaldns.*",
)  # fmt: skip


class Interface(msgspec.Struct):
    name: str
    addresses: list[Address]


class Found(msgspec.Struct, frozen=True):
    interface: str
    address: Address


class Undetected(Exception):
    """The method applies, and no address fits; one line."""


class BadMethod(Exception):
    """The method itself cannot be understood or used; one line."""


class Unreachable(Exception):
    """There is no route to the destination of can-reach, or no such name."""


class Surroundings(msgspec.Struct):
    """What a method may look at. ``internal_ips``: the Kubernetes node's, None where there is none."""

    interfaces: Sequence[Interface]
    source_towards: Callable[[str, int], str]
    internal_ips: Sequence[str] | None = None


def candidates(method: str, family: int, around: Surroundings) -> list[Found]:
    """All addresses that the method accepts, the one it would take first. Raises Undetected and BadMethod."""
    name, _, argument = method.partition("=")
    parts = [part.strip() for part in argument.split(",")] if argument else []
    if method in ("", "first-found"):
        found = _by_name([], EXCLUDED, family, around)
        reason = "first-found"
    elif name == "interface" and argument:
        found = _by_name(_compiled(method, parts), (), family, around)
        reason = f"interface regexes [{' '.join(parts)}]"
    elif name == "skip-interface" and argument:
        _compiled(method, parts)
        found = _by_name([], (*EXCLUDED, *parts), family, around)
        reason = f"skip-interface regexes [{' '.join(parts)}]"
    elif name == "cidr" and argument:
        found = _inside(method, parts, family, around)
        reason = f"cidrs [{' '.join(parts)}]"
    elif name == "can-reach" and argument:
        return [_towards(argument, family, around)]
    elif method.startswith("kubernetes-internal-ip"):
        return [_internal(family, around)]
    else:
        raise BadMethod(f"Invalid IP autodetection method: {method}")
    if not found:
        raise Undetected(
            f"Unable to auto-detect an IPv{family} address using {reason}: no valid host interfaces found"
        )
    return found


def is_usable(address: Address) -> bool:
    """Global unicast in Go's sense: private ranges count, loopback, link-local and multicast do not."""
    ip = address.ip
    return not (ip.is_loopback or ip.is_link_local or ip.is_multicast or ip.is_unspecified)


def _of_family(interface: Interface, family: int) -> Iterator[Found]:
    for address in interface.addresses:
        if address.version == family and is_usable(address):
            yield Found(interface.name, address)


def _compiled(method: str, patterns: Sequence[str]) -> list[re.Pattern[str]]:
    try:
        return [re.compile(pattern) for pattern in patterns]
    except re.error as error:
        raise BadMethod(f"Invalid IP autodetection method: {method}: {error}") from error


def _by_name(
    wanted: Sequence[re.Pattern[str]], unwanted: Sequence[str], family: int, around: Surroundings
) -> list[Found]:
    skipped = [re.compile(pattern) for pattern in unwanted]
    return [
        found
        for interface in around.interfaces
        if (not wanted or any(pattern.search(interface.name) for pattern in wanted))
        and not any(pattern.search(interface.name) for pattern in skipped)
        for found in _of_family(interface, family)
    ]


def _inside(method: str, cidrs: Sequence[str], family: int, around: Surroundings) -> list[Found]:
    try:
        networks = [ipaddress.ip_network(cidr, strict=False) for cidr in cidrs]
    except ValueError as error:
        raise BadMethod(f"Invalid IP autodetection method: {method}: {error}") from error
    return [
        found
        for interface in around.interfaces
        for found in _of_family(interface, family)
        if any(found.address.ip in network for network in networks)
    ]


def _towards(destination: str, family: int, around: Surroundings) -> Found:
    failure = f"Unable to auto-detect IPv{family} address by connecting to {destination}"
    try:
        source = ipaddress.ip_address(around.source_towards(destination, family).partition("%")[0])
    except Unreachable as error:
        raise Undetected(f"{failure}: {error}") from error
    if source.is_loopback:
        # It would be stored, and no other node could ever reach it.
        raise Undetected(f"{failure}: {destination} is this machine; name a destination beyond it")
    for interface in around.interfaces:
        for address in interface.addresses:
            if address.ip == source:
                return Found(interface.name, address)
    raise Undetected(f"{failure}: no interface has {source}")


def _internal(family: int, around: Surroundings) -> Found:
    if around.internal_ips is None:
        raise BadMethod("Cannot use method 'kubernetes-internal-ip' when not running on a Kubernetes cluster")
    for text in around.internal_ips:
        try:
            wanted = ipaddress.ip_address(text)
        except ValueError:
            continue
        if wanted.version != family:
            continue
        for interface in around.interfaces:
            for address in interface.addresses:
                if address.ip == wanted:
                    return Found(interface.name, address)
        raise Undetected(f"the Kubernetes node's InternalIP {wanted} is on no interface of this machine")
    raise Undetected(f"the Kubernetes node has no IPv{family} InternalIP")
