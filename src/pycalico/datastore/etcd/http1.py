"""One HTTP/1.1 connection that posts and reads whole answers.

A run of calicoctl asks etcd two or three things; the standard library's client takes longer to load than these
take altogether. Watches, which stay, use that one.
"""

from __future__ import annotations

import socket
from typing import Any

_MOST_LINE = 65536


class Closed(ConnectionError):
    """The server ended the connection, or what it sent is no HTTP."""


class Connection:
    """Raises OSError, from the constructor when nobody listens. ``tls`` is an ``ssl.SSLContext`` or None."""

    def __init__(self, host: str, port: int, tls: Any, *, connect_s: float, read_s: float) -> None:
        self._host = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self._socket = socket.create_connection((host, port), timeout=connect_s)
        try:
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if tls is not None:
                self._socket = tls.wrap_socket(self._socket, server_hostname=host)
            self._socket.settimeout(read_s)
        except OSError:
            self._socket.close()
            raise
        self._file = self._socket.makefile("rb")
        #: Whether another request may follow.
        self.reusable = True

    def post(self, path: str, body: bytes, headers: dict[str, str]) -> tuple[int, bytes]:
        """The status and the whole body of the answer."""
        lines = [f"POST {path} HTTP/1.1", f"Host: {self._host}", f"Content-Length: {len(body)}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        self._socket.sendall("\r\n".join([*lines, "", ""]).encode() + body)
        while True:
            status = self._status()
            fields = self._fields()
            if status >= 200:
                break
        if fields.get("connection", "").lower() == "close":
            self.reusable = False
        return status, self._body(fields)

    def close(self) -> None:
        self._file.close()
        self._socket.close()

    def _line(self) -> bytes:
        line = self._file.readline(_MOST_LINE)
        if not line.endswith(b"\n"):
            raise Closed("the connection was closed" if not line else "the answer is no HTTP")
        return line.strip()

    def _status(self) -> int:
        version, _, rest = self._line().partition(b" ")
        if not version.startswith(b"HTTP/1.") or not rest[:3].isdigit():
            raise Closed("the answer is no HTTP")
        return int(rest[:3])

    def _fields(self) -> dict[str, str]:
        found: dict[str, str] = {}
        while line := self._line():
            name, _, value = line.decode("latin-1").partition(":")
            found[name.lower()] = value.strip()
        return found

    def _body(self, fields: dict[str, str]) -> bytes:
        if fields.get("transfer-encoding", "").lower() == "chunked":
            return self._chunks()
        length = fields.get("content-length", "")
        if length.isdigit():
            return self._exactly(int(length))
        self.reusable = False
        return self._file.read()

    def _chunks(self) -> bytes:
        parts: list[bytes] = []
        while True:
            size = self._line().partition(b";")[0]
            try:
                length = int(size, 16)
            except ValueError as error:
                raise Closed("the answer is no HTTP") from error
            if not length:
                self._fields()
                return b"".join(parts)
            parts.append(self._exactly(length))
            self._line()

    def _exactly(self, length: int) -> bytes:
        data = self._file.read(length)
        if len(data) != length:
            raise Closed("the connection was closed")
        return data
