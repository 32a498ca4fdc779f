"""The machine's own addresses, by interface."""

from __future__ import annotations

import ipaddress
import socket
import subprocess

import msgspec

from pycalico.node.autodetect import Interface, Unreachable


class _Address(msgspec.Struct):
    family: str = ""
    local: str = ""
    prefixlen: int = 0


class _Link(msgspec.Struct):
    ifname: str = ""
    ifindex: int = 0
    addr_info: list[_Address] = []


class InterfacesUnknown(Exception):
    """The kernel could not be asked; one line."""


def read() -> list[Interface]:
    """All interfaces, the highest index first, addresses in the kernel's order. Raises InterfacesUnknown.

    ``ip`` is run instead of loading a netlink library, which would cost each long-lived service its memory.
    """
    try:
        run = subprocess.run(["ip", "-json", "address", "show"], capture_output=True, timeout=10, check=True)
        links = msgspec.json.decode(run.stdout or b"[]", type=list[_Link])
    except (OSError, subprocess.SubprocessError, msgspec.DecodeError) as error:
        raise InterfacesUnknown(f"cannot list interfaces with 'ip address show': {error}") from error
    return [
        Interface(
            name=link.ifname,
            addresses=[
                ipaddress.ip_interface(f"{address.local}/{address.prefixlen}")
                for address in link.addr_info
                if address.family in ("inet", "inet6") and address.local
            ],
        )
        for link in sorted(links, key=lambda link: -link.ifindex)
    ]


def source_towards(destination: str, family: int) -> str:
    """The address this machine would send from; nothing is sent. Raises Unreachable."""
    kind = socket.AF_INET if family == 4 else socket.AF_INET6
    try:
        target = socket.getaddrinfo(destination, 80, kind, socket.SOCK_DGRAM)[0][4]
        with socket.socket(kind, socket.SOCK_DGRAM) as probe:
            probe.connect(target)
            return str(probe.getsockname()[0])
    except OSError as error:
        raise Unreachable(f"{destination}: {error.strerror or error}") from error
