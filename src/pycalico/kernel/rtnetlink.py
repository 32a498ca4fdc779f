"""Writes to the kernel's network state; one socket of each kind per thread.

Links and addresses by pyroute2; what a node has many of, with requests of our own: see `kernel.requests`.
Each function raises OSError with the kernel's errno.
"""

from __future__ import annotations

import errno
import threading
from collections.abc import Collection, Sequence
from typing import Any, cast

from pycalico.kernel.requests import Channel, Request, failure

_local = threading.local()
#: What was to be deleted is gone already.
ABSENT = (errno.ENOENT, errno.ESRCH, errno.ENODEV, errno.EADDRNOTAVAIL)


def _socket() -> Any:
    """A socket belongs to the namespace in which it was made: see `close`."""
    if not hasattr(_local, "iproute"):
        from pyroute2 import IPRoute  # noqa: PLC0415 - costs 0.1 s, and readers do not need it

        _local.iproute = IPRoute()
    return _local.iproute


def close() -> None:
    """Closes the calling thread's sockets; before it changes its namespace, and at its end."""
    for name in ("iproute", "channel"):
        held = getattr(_local, name, None)
        if held is not None:
            delattr(_local, name)
            held.close()


def _call(method: str, *arguments: Any, **settings: Any) -> Any:
    from pyroute2.netlink.exceptions import NetlinkError  # noqa: PLC0415

    try:
        return getattr(_socket(), method)(*arguments, **settings)
    except NetlinkError as error:
        raise OSError(error.code, str(error)) from None


def _channel() -> Channel:
    if not hasattr(_local, "channel"):
        _local.channel = Channel()
    return cast("Channel", _local.channel)


def run(requests: Sequence[Request]) -> list[int]:
    """Carries out all, also after one has failed; an errno for each, 0 for success."""
    return _channel().run(requests)


def do(request: Request, fine: Collection[int] = ()) -> None:
    """``fine`` are errnos that do not matter."""
    (code,) = run([request])
    if code and code not in fine:
        raise failure(request, code)


def _absent_is_fine(method: str, *arguments: Any, **settings: Any) -> None:
    try:
        _call(method, *arguments, **settings)
    except OSError as error:
        if error.errno not in ABSENT:
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
