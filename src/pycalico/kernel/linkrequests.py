"""Requests that give a pod its pair of interfaces, as netlink messages in batches.

Built here, and not by pyroute2, because a plugin lives for one pod: importing pyroute2 costs 136 ms, a batch of
iproute2's ``ip`` 3 ms and a fork, one of these 0.1 ms (measured). Source of the layouts: linux/netlink.h, rtnetlink.h,
if_link.h, veth.h.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from pycalico.kernel import netlink
from pycalico.kernel.netlink import Link

_RTM_SETLINK = 19
_REQUEST, _ACK = 0x1, 0x4
_REPLACE, _EXCLUSIVE, _CREATE = 0x100, 0x200, 0x400
_UP = 0x1
_MAIN_TABLE, _BOOT = 254, 3
UNIVERSE, LINK_SCOPE = 0, 253
_HEADER = struct.Struct("=IHHII")
_LINK = struct.Struct("=BxHiII")
_ROUTE = struct.Struct("=BBBBBBBBI")
_ADDRESS = struct.Struct("=BBBBI")
_ATTRIBUTE = struct.Struct("=HH")
#: Attribute numbers, by kind of message.
_IFLA_ADDRESS, _IFLA_IFNAME, _IFLA_MTU, _IFLA_LINKINFO, _IFLA_NET_NS_FD = 1, 3, 4, 18, 28
_IFLA_NUM_TX_QUEUES, _IFLA_NUM_RX_QUEUES = 31, 32
_INFO_KIND, _INFO_DATA, _VETH_PEER = 1, 2, 1
_RTA_DST, _RTA_OIF, _RTA_GATEWAY = 1, 4, 5
_IFA_ADDRESS, _IFA_LOCAL = 1, 2
_TIMEOUT_S = 20.0
_RECEIVE = 1 << 16


class Request:
    """One message without its sequence number."""

    __slots__ = ("body", "flags", "kind", "what")

    def __init__(self, what: str, kind: int, flags: int, body: bytes) -> None:
        self.what, self.kind, self.flags, self.body = what, kind, flags, body


class Channel:
    """A netlink socket. It stays in the network namespace in which the calling thread was when it was made."""

    def __init__(self) -> None:
        self._socket = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE
        )
        self._socket.settimeout(_TIMEOUT_S)
        self._sequence = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()

    def run(self, requests: Sequence[Request]) -> list[int]:
        """Carries out all in their order, also after one has failed; an errno for each, 0 for success."""
        if not requests:
            return []
        first = self._sequence + 1
        parts = []
        for request in requests:
            self._sequence += 1
            length = 16 + len(request.body)
            flags = _REQUEST | _ACK | request.flags
            parts.append(_HEADER.pack(length, request.kind, flags, self._sequence, 0) + request.body)
        self._socket.send(b"".join(parts))
        outcomes: dict[int, int] = {}
        while len(outcomes) < len(requests):
            for sequence, kind, body in self._received():
                if kind == netlink.NLMSG_ERROR and sequence >= first:
                    outcomes[sequence] = -struct.unpack_from("=i", body)[0]
        return [outcomes[first + number] for number in range(len(requests))]

    def do(self, requests: Sequence[Request]) -> None:
        """Like `run`; raises OSError for the first that failed, saying which."""
        for request, code in zip(requests, self.run(requests), strict=True):
            if code:
                raise OSError(code, f"{request.what}: {os.strerror(code).lower()}")

    def link(self, name: str) -> Link | None:
        """None when there is no such link. Raises OSError."""
        self._sequence += 1
        body = _LINK.pack(0, 0, 0, 0, 0) + _text(_IFLA_IFNAME, name)
        self._socket.send(
            _HEADER.pack(16 + len(body), netlink.RTM_GETLINK, _REQUEST, self._sequence, 0) + body
        )
        while True:
            for sequence, kind, content in self._received():
                if sequence != self._sequence:
                    continue
                if kind == netlink.RTM_NEWLINK:
                    return netlink.parse_link(content)
                code = -struct.unpack_from("=i", content)[0]
                if code == errno.ENODEV:
                    return None
                raise OSError(code, f"link {name}: {os.strerror(code).lower()}")

    def _received(self) -> list[tuple[int, int, bytes]]:
        data = self._socket.recv(_RECEIVE)
        found, offset = [], 0
        while offset + 16 <= len(data):
            length, kind, _, sequence, _ = _HEADER.unpack_from(data, offset)
            found.append((sequence, kind, data[offset + 16 : offset + length]))
            offset += (max(length, 16) + 3) & ~3
        return found


def _attribute(kind: int, data: bytes) -> bytes:
    return _ATTRIBUTE.pack(4 + len(data), kind) + data + b"\0" * (-len(data) % 4)


def _text(kind: int, text: str) -> bytes:
    return _attribute(kind, text.encode() + b"\0")


def _number(kind: int, value: int) -> bytes:
    return _attribute(kind, struct.pack("=I", value))


def mac_bytes(mac: str) -> bytes:
    """``ee:ee:ee:ee:ee:ee`` or with hyphens. Raises ValueError."""
    return bytes.fromhex(mac.replace(":", "").replace("-", ""))


def _end(name: str, mtu: int, queues: int) -> bytes:
    data = _LINK.pack(0, 0, 0, 0, 0) + _text(_IFLA_IFNAME, name)
    if mtu:
        data += _number(_IFLA_MTU, mtu)
    # Where none is asked for, the kernel gives one for each processor.
    return data + _number(_IFLA_NUM_TX_QUEUES, queues) + _number(_IFLA_NUM_RX_QUEUES, queues)


def add_pair(host: str, host_mac: str, peer: str, netns: int, mtu: int = 0, queues: int = 1) -> Request:
    """A veth pair: ``host`` here, ``peer`` in the namespace behind the descriptor ``netns``."""
    peer_data = _end(peer, mtu, queues) + _number(_IFLA_NET_NS_FD, netns)
    info = _text(_INFO_KIND, "veth") + _attribute(_INFO_DATA, _attribute(_VETH_PEER, peer_data))
    body = _end(host, mtu, queues) + _attribute(_IFLA_ADDRESS, mac_bytes(host_mac))
    return Request(
        f"link add {host} type veth peer name {peer}",
        netlink.RTM_NEWLINK,
        _CREATE | _EXCLUSIVE,
        body + _attribute(_IFLA_LINKINFO, info),
    )


def delete_link(name: str) -> Request:
    body = _LINK.pack(0, 0, 0, 0, 0) + _text(_IFLA_IFNAME, name)
    return Request(f"link del {name}", netlink.RTM_DELLINK, 0, body)


def set_up(index: int) -> Request:
    return Request("link set up", _RTM_SETLINK, 0, _LINK.pack(0, 0, index, _UP, _UP))


def set_mac(index: int, mac: str) -> Request:
    body = _LINK.pack(0, 0, index, 0, 0) + _attribute(_IFLA_ADDRESS, mac_bytes(mac))
    return Request(f"link set address {mac}", _RTM_SETLINK, 0, body)


def add_address(index: int, cidr: str) -> Request:
    """``cidr`` as ``172.16.34.1/32``."""
    text, _, length = cidr.partition("/")
    family, data = _packed(text)
    body = _ADDRESS.pack(family, int(length), 0, 0, index)
    body += _attribute(_IFA_LOCAL, data) + _attribute(_IFA_ADDRESS, data)
    return Request(f"addr add {cidr}", netlink.RTM_NEWADDR, _CREATE | _EXCLUSIVE, body)


def add_route(
    index: int, destination: str, *, gateway: str = "", scope: int = UNIVERSE, replace: bool = False
) -> Request:
    """``destination`` is a CIDR. An equal route that is there fails with EEXIST unless it may be replaced."""
    text, _, length = destination.partition("/")
    family, data = _packed(text)
    body = _ROUTE.pack(family, int(length), 0, 0, _MAIN_TABLE, _BOOT, scope, netlink.UNICAST, 0)
    if int(length):
        body += _attribute(_RTA_DST, data)
    body += _number(_RTA_OIF, index)
    if gateway:
        body += _attribute(_RTA_GATEWAY, _packed(gateway)[1])
    flags = _CREATE | (_REPLACE if replace else _EXCLUSIVE)
    via = f" via {gateway}" if gateway else ""
    return Request(f"route add {destination}{via}", netlink.RTM_NEWROUTE, flags, body)


def _packed(address: str) -> tuple[int, bytes]:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    return family, socket.inet_pton(family, address)
