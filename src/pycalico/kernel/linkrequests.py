"""Requests that give a pod its pair of interfaces.

Not by pyroute2, because a plugin lives for one pod: importing that costs 136 ms, a batch of iproute2's ``ip`` 3 ms and
a fork, one of these 0.1 ms (measured). Source of the layouts: linux/rtnetlink.h, if_link.h, veth.h.
"""

from __future__ import annotations

import errno
import struct

from pycalico.kernel import netlink, routerequests
from pycalico.kernel.netlink import UNICAST, Link, Route
from pycalico.kernel.requests import (
    CREATE,
    EXCLUSIVE,
    Channel,
    Request,
    attribute,
    mac_bytes,
    number,
    packed,
    text,
)

_RTM_SETLINK = 19
_UP = 0x1
_BOOT = 3
UNIVERSE, LINK_SCOPE = 0, 253
_LINK = struct.Struct("=BxHiII")
_ADDRESS = struct.Struct("=BBBBI")
#: Attribute numbers, by kind of message.
_IFLA_ADDRESS, _IFLA_IFNAME, _IFLA_MTU, _IFLA_LINKINFO, _IFLA_NET_NS_FD = 1, 3, 4, 18, 28
_IFLA_NUM_TX_QUEUES, _IFLA_NUM_RX_QUEUES = 31, 32
_INFO_KIND, _INFO_DATA, _VETH_PEER = 1, 2, 1
_IFA_ADDRESS, _IFA_LOCAL = 1, 2


def link(channel: Channel, name: str) -> Link | None:
    """None when there is no such link. Raises OSError."""
    body = _LINK.pack(0, 0, 0, 0, 0) + text(_IFLA_IFNAME, name)
    try:
        _, found = channel.ask(Request(f"link {name}", netlink.RTM_GETLINK, 0, body))
    except OSError as error:
        if error.errno == errno.ENODEV:
            return None
        raise
    return netlink.parse_link(found)


def _end(name: str, mtu: int, queues: int) -> bytes:
    data = _LINK.pack(0, 0, 0, 0, 0) + text(_IFLA_IFNAME, name)
    if mtu:
        data += number(_IFLA_MTU, mtu)
    # Where none is asked for, the kernel gives one for each processor.
    return data + number(_IFLA_NUM_TX_QUEUES, queues) + number(_IFLA_NUM_RX_QUEUES, queues)


def add_pair(host: str, host_mac: str, peer: str, netns: int, mtu: int = 0, queues: int = 1) -> Request:
    """A veth pair: ``host`` here, ``peer`` in the namespace behind the descriptor ``netns``."""
    peer_data = _end(peer, mtu, queues) + number(_IFLA_NET_NS_FD, netns)
    info = text(_INFO_KIND, "veth") + attribute(_INFO_DATA, attribute(_VETH_PEER, peer_data))
    body = _end(host, mtu, queues) + attribute(_IFLA_ADDRESS, mac_bytes(host_mac))
    return Request(
        f"link add {host} type veth peer name {peer}",
        netlink.RTM_NEWLINK,
        CREATE | EXCLUSIVE,
        body + attribute(_IFLA_LINKINFO, info),
    )


def delete_link(name: str) -> Request:
    body = _LINK.pack(0, 0, 0, 0, 0) + text(_IFLA_IFNAME, name)
    return Request(f"link del {name}", netlink.RTM_DELLINK, 0, body)


def set_up(index: int) -> Request:
    return Request("link set up", _RTM_SETLINK, 0, _LINK.pack(0, 0, index, _UP, _UP))


def set_mac(index: int, mac: str) -> Request:
    body = _LINK.pack(0, 0, index, 0, 0) + attribute(_IFLA_ADDRESS, mac_bytes(mac))
    return Request(f"link set address {mac}", _RTM_SETLINK, 0, body)


def add_address(index: int, cidr: str) -> Request:
    """``cidr`` as ``172.16.34.1/32``."""
    address, _, length = cidr.partition("/")
    family, data = packed(address)
    body = _ADDRESS.pack(family, int(length), 0, 0, index)
    body += attribute(_IFA_LOCAL, data) + attribute(_IFA_ADDRESS, data)
    return Request(f"addr add {cidr}", netlink.RTM_NEWADDR, CREATE | EXCLUSIVE, body)


def add_route(
    index: int, destination: str, *, gateway: str = "", scope: int = UNIVERSE, replace: bool = False
) -> Request:
    """``destination`` is a CIDR. An equal route that is there fails with EEXIST unless it may be replaced."""
    route = Route(destination, index, gateway, _BOOT, scope, UNICAST, 0, "", False, 0)
    return routerequests.replace_route(route) if replace else routerequests.add_route(route)
