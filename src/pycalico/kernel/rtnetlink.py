"""Writes to the kernel's network state, by pyroute2; one socket per thread.

Each function raises OSError with the kernel's errno.
"""

from __future__ import annotations

import errno
import socket
import threading
from typing import Any

from pycalico.kernel.netlink import MAIN_TABLE, Route, Rule

_local = threading.local()
_RULE_NOT = 0x2
_AF = {4: socket.AF_INET, 6: socket.AF_INET6}


def _socket() -> Any:
    """A socket belongs to the namespace in which it was made: see `close`."""
    if not hasattr(_local, "iproute"):
        from pyroute2 import IPRoute  # noqa: PLC0415 - costs 0.1 s, and readers do not need it

        _local.iproute = IPRoute()
    return _local.iproute


def close() -> None:
    """Closes the calling thread's socket; before it changes its namespace, and at its end."""
    iproute = getattr(_local, "iproute", None)
    if iproute is not None:
        del _local.iproute
        iproute.close()


def _call(method: str, *arguments: Any, **settings: Any) -> Any:
    from pyroute2.netlink.exceptions import NetlinkError  # noqa: PLC0415

    try:
        return getattr(_socket(), method)(*arguments, **settings)
    except NetlinkError as error:
        raise OSError(error.code, str(error)) from None


def _family(text: str) -> int:
    return _AF[6 if ":" in text else 4]


def write_route(verb: str, route: Route, table: int = MAIN_TABLE) -> None:
    """``verb``: add, replace or del."""
    settings: dict[str, Any] = {
        "dst": route.dst,
        "family": _family(route.dst),
        "table": table,
        "proto": route.protocol,
        "scope": route.scope,
        "type": route.type,
    }
    if route.oif:
        settings["oif"] = route.oif
    if route.gateway:
        settings["gateway"] = route.gateway
    if route.priority:
        settings["priority"] = route.priority
    if route.source:
        settings["prefsrc"] = route.source
    if route.onlink:
        settings["flags"] = 4
    if route.mtu:
        settings["metrics"] = {"mtu": route.mtu}
    _call("route", verb, **settings)


def remove_route(route: Route, table: int = MAIN_TABLE) -> None:
    """One that is gone is fine."""
    try:
        write_route("del", route, table)
    except OSError as error:
        if error.errno not in {errno.ESRCH, errno.ENODEV}:
            raise


def write_rule(verb: str, family: int, rule: Rule) -> None:
    """``verb``: add or del. One that is gone, or there already, is fine."""
    try:
        _call(
            "rule",
            verb,
            family=_AF[family],
            priority=rule.priority,
            table=rule.table,
            fwmark=rule.mark,
            fwmask=rule.mask,
            flags=_RULE_NOT if rule.negated else 0,
        )
    except OSError as error:
        if error.errno not in {errno.EEXIST, errno.ENOENT}:
            raise


def set_neighbour(index: int, address: str, mac: str) -> None:
    """A permanent entry."""
    _call("neigh", "replace", ifindex=index, dst=address, lladdr=mac, family=_family(address), state=0x80)


def delete_neighbour(index: int, address: str, mac: str) -> None:
    _absent_is_fine("neigh", "del", ifindex=index, dst=address, lladdr=mac, family=_family(address))


def set_forwarding(index: int, mac: str, remote: str) -> None:
    """A permanent entry of a VXLAN device's own table."""
    _call("fdb", "replace", ifindex=index, lladdr=mac, dst=remote, state=0x80, flags=2)


def delete_forwarding(index: int, mac: str, remote: str) -> None:
    _absent_is_fine("fdb", "del", ifindex=index, lladdr=mac, dst=remote)


def _absent_is_fine(method: str, *arguments: Any, **settings: Any) -> None:
    try:
        _call(method, *arguments, **settings)
    except OSError as error:
        if error.errno not in {errno.ENOENT, errno.ESRCH, errno.ENODEV, errno.EADDRNOTAVAIL}:
            raise


def add_link(**settings: Any) -> None:
    _call("link", "add", **settings)


def set_link(index: int, **settings: Any) -> None:
    _call("link", "set", index=index, **settings)


def delete_link(index: int) -> None:
    _absent_is_fine("link", "del", index=index)


def link_details(index: int) -> dict[str, Any]:
    """The device kind's own settings (IFLA_INFO_DATA) by name, and ``kind``."""
    (found,) = _call("get_links", index)
    info = found.get_attr("IFLA_LINKINFO")
    if info is None:
        return {"kind": ""}
    data = info.get_attr("IFLA_INFO_DATA")
    details = dict(data["attrs"]) if data is not None and data.get("attrs") else {}
    return {"kind": info.get_attr("IFLA_INFO_KIND") or "", **details}


def add_address(index: int, address: str, prefix_length: int) -> None:
    _call("addr", "replace", index=index, address=address, prefixlen=prefix_length)


def delete_address(index: int, address: str, prefix_length: int) -> None:
    _absent_is_fine("addr", "del", index=index, address=address, prefixlen=prefix_length)
