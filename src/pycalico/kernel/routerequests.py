"""Requests that write routes, rules, neighbours and forwarding entries.

Source of the layouts: linux/rtnetlink.h, fib_rules.h, neighbour.h.
"""

from __future__ import annotations

import errno
import socket
import struct

from pycalico.kernel import netlink
from pycalico.kernel.netlink import MAIN_TABLE, PERMANENT, Route, Rule
from pycalico.kernel.requests import (
    CREATE,
    EXCLUSIVE,
    REPLACE,
    Request,
    attribute,
    mac_bytes,
    number,
    packed,
)

#: Deleting a route that is gone, or whose device is.
NO_ROUTE = (errno.ESRCH, errno.ENODEV)
_ADD, _REPLACE = CREATE | EXCLUSIVE, CREATE | REPLACE
_ROUTE = struct.Struct("=BBBBBBBBI")
_RULE = struct.Struct("=BBBBBxxBI")
_NEIGHBOUR = struct.Struct("=BxxxiHBB")
_RTM_DELNEIGH, _RTM_NEWRULE, _RTM_DELRULE = 29, 32, 33
#: Attribute numbers, by kind of message.
_RTA_DST, _RTA_OIF, _RTA_GATEWAY, _RTA_PRIORITY, _RTA_PREFSRC, _RTA_METRICS, _RTA_TABLE = 1, 4, 5, 6, 7, 8, 15
_METRIC_MTU = 2
_NDA_DST, _NDA_LLADDR = 1, 2
_FRA_PRIORITY, _FRA_FWMARK, _FRA_TABLE, _FRA_FWMASK = 6, 10, 15, 16
#: Higher table numbers are in an attribute only.
_TABLE_MOST, _TABLE_COMPAT = 255, 252
_ONLINK, _RULE_NOT, _TO_TABLE, _OF_DEVICE = 4, 2, 1, 2
_BRIDGE = 7
_FAMILY = {4: socket.AF_INET, 6: socket.AF_INET6}


def add_route(route: Route, table: int = MAIN_TABLE) -> Request:
    """An equal one that is there makes it fail with EEXIST."""
    return _route("add", netlink.RTM_NEWROUTE, _ADD, route, table)


def replace_route(route: Route, table: int = MAIN_TABLE) -> Request:
    return _route("replace", netlink.RTM_NEWROUTE, _REPLACE, route, table)


def delete_route(route: Route, table: int = MAIN_TABLE) -> Request:
    return _route("del", netlink.RTM_DELROUTE, 0, route, table)


def _route(verb: str, kind: int, flags: int, route: Route, table: int) -> Request:
    address, _, length = route.dst.partition("/")
    family, destination = packed(address)
    short = table if table <= _TABLE_MOST else _TABLE_COMPAT
    body = _ROUTE.pack(
        family, int(length), 0, 0, short, route.protocol, route.scope, route.type, _ONLINK * route.onlink
    )
    if int(length):
        body += attribute(_RTA_DST, destination)
    if table > _TABLE_MOST:
        body += number(_RTA_TABLE, table)
    if route.oif:
        body += number(_RTA_OIF, route.oif)
    if route.gateway:
        body += attribute(_RTA_GATEWAY, packed(route.gateway)[1])
    if route.priority:
        body += number(_RTA_PRIORITY, route.priority)
    if route.source:
        body += attribute(_RTA_PREFSRC, packed(route.source)[1])
    if route.mtu:
        body += attribute(_RTA_METRICS, number(_METRIC_MTU, route.mtu))
    via = f" via {route.gateway}" if route.gateway else ""
    return Request(f"route {verb} {route.dst}{via}", kind, flags, body)


def add_rule(family: int, rule: Rule) -> Request:
    return _rule("add", _RTM_NEWRULE, _ADD, family, rule)


def delete_rule(family: int, rule: Rule) -> Request:
    return _rule("del", _RTM_DELRULE, 0, family, rule)


def _rule(verb: str, kind: int, flags: int, family: int, rule: Rule) -> Request:
    short = rule.table if rule.table <= _TABLE_MOST else _TABLE_COMPAT
    body = _RULE.pack(_FAMILY[family], 0, 0, 0, short, _TO_TABLE, _RULE_NOT * rule.negated)
    for key, value in (
        (_FRA_PRIORITY, rule.priority),
        (_FRA_TABLE, rule.table),
        (_FRA_FWMARK, rule.mark),
        (_FRA_FWMASK, rule.mask),
    ):
        body += number(key, value)
    return Request(f"rule {verb} {rule.priority}", kind, flags, body)


def set_neighbour(index: int, address: str, mac: str) -> Request:
    """A permanent entry."""
    family, data = packed(address)
    body = _NEIGHBOUR.pack(family, index, PERMANENT, 0, 0)
    body += attribute(_NDA_DST, data) + attribute(_NDA_LLADDR, mac_bytes(mac))
    return Request(f"neigh replace {address}", netlink.RTM_NEWNEIGH, _REPLACE, body)


def delete_neighbour(index: int, address: str) -> Request:
    family, data = packed(address)
    body = _NEIGHBOUR.pack(family, index, 0, 0, 0) + attribute(_NDA_DST, data)
    return Request(f"neigh del {address}", _RTM_DELNEIGH, 0, body)


def set_forwarding(index: int, mac: str, remote: str) -> Request:
    """A permanent entry of a VXLAN device's own table."""
    return Request(
        f"fdb replace {mac} dst {remote}",
        netlink.RTM_NEWNEIGH,
        _REPLACE,
        _forwarding(index, PERMANENT, mac, remote),
    )


def delete_forwarding(index: int, mac: str, remote: str) -> Request:
    return Request(f"fdb del {mac} dst {remote}", _RTM_DELNEIGH, 0, _forwarding(index, 0, mac, remote))


def _forwarding(index: int, state: int, mac: str, remote: str) -> bytes:
    body = _NEIGHBOUR.pack(_BRIDGE, index, state, _OF_DEVICE, 0)
    return body + attribute(_NDA_LLADDR, mac_bytes(mac)) + attribute(_NDA_DST, packed(remote)[1])
