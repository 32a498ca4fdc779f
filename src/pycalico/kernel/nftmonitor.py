"""Who changes nftables: the kernel tells each change as it is made, and by which program.

iptables' nft variant keeps its rules there, so that what others do to them is known at once; legacy tables have no
such notice. Source of the layouts: linux/netfilter/nfnetlink.h, nf_tables.h.
"""

from __future__ import annotations

import errno
import logging
import select
import socket
import struct
import threading
from collections.abc import Callable, Iterator

import msgspec

log = logging.getLogger(__name__)

_NETLINK_NETFILTER = 12
_SUBSYSTEM = 10
_GROUP = 1 << (7 - 1)
_NEW_CHAIN, _DEL_TABLE, _DEL_CHAIN, _NEW_RULE, _DEL_RULE, _NEW_GENERATION = 3, 2, 5, 6, 8, 15
_TOLD = {_DEL_TABLE, _NEW_CHAIN, _DEL_CHAIN, _NEW_RULE, _DEL_RULE}
#: Attribute number of the table's and the chain's name in each kind of message.
_TABLE = 1
_CHAIN = {_NEW_CHAIN: 3, _DEL_CHAIN: 3, _NEW_RULE: 2, _DEL_RULE: 2}
_PROGRAM, _PROGRAM_ID = 3, 2
_HEADER = struct.Struct("=IHHIIBBH")
_ATTRIBUTE = struct.Struct("=HH")
_VERSION: dict[int, int] = {socket.AF_INET: 4, socket.AF_INET6: 6}
_RECEIVE_BUFFER = 8 << 20
_WAIT_S = 2.0


class Change(msgspec.Struct, frozen=True):
    """``chain`` is empty for a whole table. ``program`` and its process number ``pid``: as far as the kernel told."""

    family: int
    table: str
    chain: str
    program: str = ""
    pid: int = 0


class NftMonitor:
    """``on_change`` is called from the thread of ``run``; ``on_lost`` when notices were dropped."""

    def __init__(self, on_change: Callable[[list[Change]], None], on_lost: Callable[[], None]) -> None:
        self._on_change = on_change
        self._on_lost = on_lost
        self._waiting: list[Change] = []
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_NETFILTER)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
        self._socket.bind((0, _GROUP))

    def run(self, stop: threading.Event) -> None:
        try:
            while not stop.is_set():
                if not select.select([self._socket], [], [], _WAIT_S)[0]:
                    continue
                try:
                    self._take(self._socket.recv(1 << 18))
                except OSError as error:
                    if error.errno != errno.ENOBUFS:
                        raise
                    self._on_lost()
        finally:
            self._socket.close()

    def _take(self, data: bytes) -> None:
        """Changes come first, then one message that tells of the whole transaction."""
        for kind, family, body in _messages(data):
            if kind == _NEW_GENERATION:
                told = dict(_attributes(body))
                program = _text(told.get(_PROGRAM, b""))
                pid = int.from_bytes(told.get(_PROGRAM_ID, b""), "big")
                waiting, self._waiting = self._waiting, []
                if waiting:
                    self._on_change(
                        [msgspec.structs.replace(change, program=program, pid=pid) for change in waiting]
                    )
            elif kind in _TOLD and family in _VERSION:
                told = dict(_attributes(body))
                chain = _text(told.get(_CHAIN.get(kind, -1), b""))
                self._waiting.append(Change(_VERSION[family], _text(told.get(_TABLE, b"")), chain))


def _messages(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Kind, address family and attributes of each message of nftables."""
    at = 0
    while at + _HEADER.size <= len(data):
        length, kind, _, _, _, family, _, _ = _HEADER.unpack_from(data, at)
        if length < _HEADER.size:
            return
        if kind >> 8 == _SUBSYSTEM:
            yield kind & 0xFF, family, data[at + _HEADER.size : at + length]
        at += (length + 3) & ~3


def _attributes(body: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at + _ATTRIBUTE.size <= len(body):
        length, kind = _ATTRIBUTE.unpack_from(body, at)
        if length < _ATTRIBUTE.size:
            return
        yield kind & 0x3FFF, body[at + 4 : at + length]
        at += (length + 3) & ~3


def _text(value: bytes) -> str:
    return value.rstrip(b"\0").decode(errors="replace")
