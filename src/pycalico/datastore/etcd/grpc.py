"""etcd's ``Range`` by gRPC itself, for lists of thousands of keys.

etcd's JSON gateway, which serves everything else here, makes a list's every byte anew: 18 of the 56 ms of a ``calicoctl get
nodes`` at 2,000 nodes, and 30 of an ``ipam check``'s 106. A gRPC library would cost more (``import grpc``: 120 ms; measured).

One call after the other on one connection, and of HTTP/2 (RFC 9113) and gRPC only what that takes. Whatever is not a plain
success is None, and the caller asks the gateway, which says why. A message is a protobuf of etcd's rpc.proto and kv.proto.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pycalico.datastore.etcd.answers import Header, KeyValue, RangeAnswer
from pycalico.datastore.http1 import open_socket

if TYPE_CHECKING:
    from pycalico.datastore import tls as transport

_PATH = b"/etcdserverpb.KV/Range"
_LARGEST = (1 << 31) - 1
_SMALLEST_WINDOW = 65535
_DATA, _HEADERS, _RST_STREAM, _SETTINGS, _PING, _GOAWAY, _WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
_END_STREAM, _ACK, _END_HEADERS, _PADDED, _PRIORITY = 1, 1, 4, 8, 32
_FRAME, _LARGEST_FRAME = 9, 16384
_CHUNK = 1 << 18
#: In HPACK (RFC 7541): indexed fields of its static table, and literals that nobody is to remember.
_POST, _HTTP, _HTTPS = b"\x83", b"\x86", b"\x87"
_AUTHORITY, _PATH_FIELD, _CONTENT_TYPE, _NEW_NAME = b"\x01", b"\x04", b"\x0f\x10", b"\x00"
#: Status 200, after the word that there is to be no table, which the first answer of a connection has.
_SUCCESS = (b"\x20\x88", b"\x88")
#: ``grpc-status`` in Huffman's code, then ``0`` as it is.
_STATUS_OK = b"\x88\x9a\xca\xc8\xb2\x12\x34\xda\x8f\x010"


class Channel:
    """Raises OSError, from the constructor when nobody listens. ``tls`` is asked for HTTP/2 by the caller."""

    def __init__(
        self, host: str, port: int, tls: transport.Context | None, *, connect_s: float, read_s: float
    ) -> None:
        self._socket = open_socket(host, port, tls, connect_s=connect_s)
        self._socket.settimeout(read_s)
        self._authority = (f"[{host}]:{port}" if ":" in host else f"{host}:{port}").encode()
        self._scheme = _HTTP if tls is None else _HTTPS
        self._stream = -1
        #: Whether an answer is to come.
        self.is_asked = False
        self._unread = b""
        settings = b"".join(
            number.to_bytes(2, "big") + value.to_bytes(4, "big")
            # No table of fields; nothing pushed; windows as large as can be.
            for number, value in ((1, 0), (2, 0), (4, _LARGEST))
        )
        window = (_LARGEST - _SMALLEST_WINDOW).to_bytes(4, "big")
        self._begin = (
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
            + _frame(_SETTINGS, 0, 0, settings)
            + _frame(_WINDOW_UPDATE, 0, 0, window)
        )

    def ask(self, key: bytes, end: bytes, *, limit: int = 0, revision: int = 0, token: str = "") -> None:
        """All from ``key`` until before ``end``; `answer` has to follow."""
        request = _field(1, key) + _field(2, end)
        if limit:
            request += b"\x18" + _varint(limit)
        if revision:
            request += b"\x20" + _varint(revision)
        fields = (
            _POST
            + self._scheme
            + (_PATH_FIELD + _text(_PATH))
            + (_AUTHORITY + _text(self._authority))
            + (_CONTENT_TYPE + _text(b"application/grpc"))
            + (_NEW_NAME + _text(b"te") + _text(b"trailers"))
        )
        if token:
            fields += _NEW_NAME + _text(b"token") + _text(token.encode())
        self._stream += 2
        message = b"\0" + len(request).to_bytes(4, "big") + request
        call = _frame(_HEADERS, _END_HEADERS, self._stream, fields)
        call += _frame(_DATA, _END_STREAM, self._stream, message)
        begin, self._begin, self.is_asked = self._begin, b"", True
        self._socket.sendall(begin + call)

    def answer(self) -> RangeAnswer | None:
        """None for anything but a success; the channel is of no use then."""
        parts: list[bytes] = []
        opened = self.is_asked = False
        while True:
            kind, flags, stream, content = self._next()
            if kind == _SETTINGS and not flags & _ACK:
                self._socket.sendall(_frame(_SETTINGS, _ACK, 0, b""))
            elif kind == _PING and not flags & _ACK:
                self._socket.sendall(_frame(_PING, _ACK, 0, content))
            elif kind in (_RST_STREAM, _GOAWAY):
                return None
            elif stream != self._stream:
                continue
            elif kind == _DATA:
                parts.append(content)
                if flags & _END_STREAM:
                    return None
            elif kind == _HEADERS:
                if not opened and content.startswith(_SUCCESS) and not flags & _END_STREAM:
                    opened = True
                    continue
                succeeded = opened and flags & _END_STREAM and flags & _END_HEADERS and _STATUS_OK in content
                data = b"".join(parts)
                # A long list is large: one copy of it is enough.
                parts.clear()
                return _message(data) if succeeded else None

    def close(self) -> None:
        self._socket.close()

    def _next(self) -> tuple[int, int, int, bytes]:
        """One frame: kind, flags, stream, content."""
        head = self._exactly(_FRAME)
        size = int.from_bytes(head[:3], "big")
        if size > _LARGEST_FRAME:
            raise ConnectionAbortedError("this is not HTTP/2")
        content = self._exactly(size)
        flags = head[4]
        if head[3] in (_DATA, _HEADERS) and flags & _PADDED:
            content = content[1 : len(content) - content[0]]
        if head[3] == _HEADERS and flags & _PRIORITY:
            content = content[5:]
        return head[3], flags, int.from_bytes(head[5:9], "big") & _LARGEST, content

    def _exactly(self, size: int) -> bytes:
        if len(self._unread) < size:
            parts, there = [self._unread], len(self._unread)
            while there < size:
                more = self._socket.recv(_CHUNK)
                if not more:
                    raise ConnectionResetError("etcd closed the connection")
                parts.append(more)
                there += len(more)
            self._unread = b"".join(parts)
        found, self._unread = self._unread[:size], self._unread[size:]
        return found


def _frame(kind: int, flags: int, stream: int, content: bytes) -> bytes:
    return len(content).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + content


def _text(text: bytes) -> bytes:
    """A string in HPACK, as it is; its length has seven bits in the first byte."""
    if len(text) < 0x7F:
        return bytes((len(text),)) + text
    return b"\x7f" + _varint(len(text) - 0x7F) + text


def _field(number: int, text: bytes) -> bytes:
    return bytes((number << 3 | 2,)) + _varint(len(text)) + text


def _varint(value: int) -> bytes:
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    found.append(value)
    return bytes(found)


def _message(data: bytes) -> RangeAnswer | None:
    """The answer in one gRPC message; None where it is not whole, or of a form that etcd does not send."""
    if len(data) < 5 or data[0] or int.from_bytes(data[1:5], "big") != len(data) - 5:
        return None
    try:
        return _range_answer(data, 5, len(data))
    except (IndexError, ValueError):
        return None


def _range_answer(data: bytes, at: int, end: int) -> RangeAnswer:
    found = RangeAnswer()
    kvs = found.kvs = []
    while at < end:
        tag = data[at]
        value, at = _number(data, at + 1)
        if tag & 7 == 2:
            if tag == 0x12:
                kvs.append(_key_value(data, at, at + value))
            elif tag == 0x0A:
                found.header = _header(data, at, at + value)
            at += value
        elif tag == 0x18:
            found.more = bool(value)
    if at != end:
        raise ValueError("not whole")
    return found


def _header(data: bytes, at: int, end: int) -> Header:
    found = Header()
    while at < end:
        tag = data[at]
        value, at = _number(data, at + 1)
        if tag == 0x18:
            found.revision = str(value)
    return found


def _key_value(data: bytes, at: int, end: int) -> KeyValue:
    """The hot one: six fields for each of thousands of keys, so numbers are read in place."""
    key = value = b""
    created = modified = version = 0
    while at < end:
        tag = data[at]
        number = data[at + 1]
        at += 2
        if number > 0x7F:
            number &= 0x7F
            shift = 7
            while True:
                byte = data[at]
                at += 1
                number |= (byte & 0x7F) << shift
                if byte < 0x80:
                    break
                shift += 7
        if tag == 0x0A:
            key = data[at : at + number]
            at += number
        elif tag == 0x2A:
            value = data[at : at + number]
            at += number
        elif tag == 0x10:
            created = number
        elif tag == 0x18:
            modified = number
        elif tag == 0x20:
            version = number
        elif tag & 7:
            raise ValueError(f"a field of an unknown form: {tag}")
    if at != end:
        raise ValueError("not whole")
    return KeyValue(key, value, str(modified), str(created), str(version))


def _number(data: bytes, at: int) -> tuple[int, int]:
    """A varint, and where it ends."""
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
