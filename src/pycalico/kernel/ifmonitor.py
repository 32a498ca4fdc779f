"""Follows changes of links, addresses and routes."""

from __future__ import annotations

import errno
import logging
import select
import socket
import threading
import time
from collections.abc import Callable

from pycalico.kernel import netlink
from pycalico.kernel.interfaces import Interfaces
from pycalico.kernel.netlink import NetlinkError, Route

log = logging.getLogger(__name__)

#: After so long it looks whether it shall end.
_WAIT_S = 2.0

# RTMGRP_LINK, IPV4_IFADDR, IPV6_IFADDR, IPV4_ROUTE, IPV6_ROUTE
_GROUPS = 0x1 | 0x10 | 0x100 | 0x40 | 0x400


class InterfaceMonitor:
    """Keeps ``interfaces`` true and reports each route added (or removed).

    The socket belongs to the namespace of the thread that makes the object. All is read again every
    ``refresh_s`` and whenever the kernel says that it dropped messages; ``on_lost`` is told of the latter.
    """

    def __init__(
        self,
        interfaces: Interfaces,
        on_route: Callable[[Route, bool], None],
        on_lost: Callable[[], None],
        refresh_s: float = 90.0,
    ) -> None:
        self._interfaces = interfaces
        self._on_route = on_route
        self._on_lost = on_lost
        self._refresh_s = refresh_s
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        self._socket.bind((0, _GROUPS))

    def run(self, stop: threading.Event) -> None:
        next_load_s = 0.0
        try:
            while not stop.is_set():
                if time.monotonic() >= next_load_s:
                    next_load_s = time.monotonic() + (self._refresh_s if self._load() else 1.0)
                wait_s = max(0.0, min(_WAIT_S, next_load_s - time.monotonic()))
                if select.select([self._socket], [], [], wait_s)[0] and not self._receive():
                    next_load_s = 0.0
        finally:
            self._socket.close()

    def _load(self) -> bool:
        try:
            self._interfaces.load()
        except NetlinkError as error:
            log.warning("cannot read the interfaces, trying again: %s", error)
            return False
        return True

    def _receive(self) -> bool:
        """False when messages were lost."""
        try:
            while select.select([self._socket], [], [], 0)[0]:
                for kind, _, body in netlink.messages(self._socket.recv(1 << 18)):
                    self._take(kind, body)
        except OSError as error:
            if error.errno != errno.ENOBUFS:
                raise
            log.warning("the kernel dropped interface events: reading everything again")
            self._on_lost()
            return False
        return True

    def _take(self, kind: int, body: bytes) -> None:
        if kind in {netlink.RTM_NEWLINK, netlink.RTM_DELLINK}:
            if body[0] != socket.AF_UNSPEC:
                return  # a bridge's port, not the link itself
            link = netlink.parse_link(body)
            if kind == netlink.RTM_NEWLINK:
                self._interfaces.put_link(link)
            else:
                self._interfaces.drop_link(link.index)
        elif kind in {netlink.RTM_NEWADDR, netlink.RTM_DELADDR}:
            address = netlink.parse_address(body)
            if address:
                self._interfaces.put_address(address, kind == netlink.RTM_NEWADDR)
        elif kind in {netlink.RTM_NEWROUTE, netlink.RTM_DELROUTE}:
            route = netlink.parse_route(body)
            if route:
                self._on_route(route, kind == netlink.RTM_NEWROUTE)
