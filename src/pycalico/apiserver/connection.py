"""HTTP/1.1 as this server needs it: one asyncio protocol, bounded and with deadlines.

Handlers are plain functions from `Request` to `Response`, so a request is answered within the event that
brought it. A response may turn into a `Stream`, whose chunks are written as changes happen, without a task
or queue for each watcher.

Deadlines: TLS handshake and request head `HEAD_S`, whole request `REQUEST_S`, between requests `IDLE_S`, or `HEAD_S` while
the client has not shown who it is.
Bounds: head `MAX_HEAD`, body `http1.MAX_BODY`, unread output of a stream `MAX_BEHIND` (then the stream is cut).
"""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections.abc import Callable
from http import HTTPStatus
from typing import Final, cast

from pycalico.apiserver import http1
from pycalico.apiserver.http1 import Request

HEAD_S: Final = 8.0
REQUEST_S: Final = 9.0
IDLE_S: Final = 120.0
MAX_HEAD: Final = 64 * 1024
MAX_BEHIND: Final = 32 * 1024 * 1024

log = logging.getLogger(__name__)
_REASONS: Final = {s.value: s.phrase for s in HTTPStatus}
JSON: Final = "application/json"


class Stream:
    """A chunked response under way. ``on_close`` runs once, whichever side ends it."""

    __slots__ = ("_connection", "on_close")

    def __init__(self) -> None:
        self.on_close: Callable[[], None] = lambda: None
        self._connection: Connection | None = None

    def attach(self, connection: Connection) -> None:
        self._connection = connection

    def send(self, chunk: bytes) -> None:
        """Write an already framed chunk (see `frame`)."""
        if self._connection is not None:
            self._connection.send_chunk(chunk)

    def end(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            self.on_close()
            connection.end_stream()

    def lost(self) -> None:
        if self._connection is not None:
            self._connection = None
            self.on_close()


class Response:
    __slots__ = ("body", "content_type", "headers", "status", "stream")

    def __init__(
        self,
        status: int,
        body: bytes,
        content_type: str = JSON,
        headers: tuple[tuple[str, str], ...] = (),
        stream: Stream | None = None,
    ) -> None:
        self.status = status
        self.body = body  # of a stream: the chunks to begin with, framed
        self.content_type = content_type
        self.headers = headers
        self.stream = stream


Handler = Callable[[Request], Response]


def frame(payload: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(payload), payload)


class Connection(asyncio.Protocol):
    """One client. ``alive`` is the server's set of connections, swept for passed deadlines."""

    def __init__(self, handler: Handler, alive: set[Connection]) -> None:
        self._handler = handler
        self._alive = alive
        self._buffer = bytearray()
        self._request: Request | None = None
        self._need = 0  # body bytes awaited; -1: chunked
        self._stream: Stream | None = None
        self._transport: asyncio.Transport | None = None
        self._close_after = False
        self._draining = False
        self._paused = False
        self._began = time.monotonic()
        self.deadline = self._began + HEAD_S

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        sock = transport.get_extra_info("socket")
        if sock is not None:  # a watcher whose machine vanished must not be kept for ever
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 30)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 60_000)
        self._alive.add(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 (the protocol's signature)
        self._alive.discard(self)
        self._transport = None
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.lost()

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        if self._transport is not None and self._buffer and self._stream is None:
            self._advance()

    def data_received(self, data: bytes) -> None:
        if self._draining:
            return
        if not self._buffer and self._request is None and self._stream is None:
            self._began = time.monotonic()
            self.deadline = self._began + HEAD_S
        self._buffer += data
        if self._stream is None and not self._paused:
            self._advance()
        elif len(self._buffer) > MAX_HEAD:
            self.abort()  # floods a stream, or sends faster than it reads

    def _advance(self) -> None:
        try:
            while self._transport is not None and self._stream is None and not self._paused:
                if self._request is None and not self._read_head():
                    return
                request = self._request
                if request is None or not self._read_body(request):
                    return
                self._request = None
                self.deadline = time.monotonic() + IDLE_S
                self._answer(request)
        except http1.BadRequest as e:
            self._refuse(e)

    def _read_head(self) -> bool:
        buffer = self._buffer
        while buffer.startswith(b"\r\n"):
            del buffer[:2]
        end = buffer.find(b"\r\n\r\n")
        if end < 0:
            if len(buffer) > MAX_HEAD:
                raise http1.BadRequest(431, "request head is too large")
            return False
        if end > MAX_HEAD:
            raise http1.BadRequest(431, "request head is too large")
        head = bytes(buffer[:end])
        del buffer[: end + 4]
        self._request = request = http1.parse_head(head)
        self._close_after = request.headers.get("connection", "").lower() == "close"
        self._need = http1.body_length(request)
        self.deadline = self._began + REQUEST_S
        transport = self._transport
        if transport is not None and transport.get_extra_info("peercert"):
            request.peer = transport.get_extra_info("peercert")
        if request.headers.get("expect", "").lower() == "100-continue" and transport is not None:
            transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        return True

    def _read_body(self, request: Request) -> bool:
        buffer = self._buffer
        if self._need >= 0:
            if len(buffer) < self._need:
                return False
            request.body = bytes(buffer[: self._need])
            del buffer[: self._need]
            return True
        parsed = http1.dechunk(buffer)
        if parsed is None:
            if len(buffer) > http1.MAX_BODY * 2:
                raise http1.BadRequest(413, "request body is too large")
            return False
        request.body, used = parsed
        del buffer[:used]
        return True

    def _answer(self, request: Request) -> None:
        response = self._handler(request)
        if response.status == HTTPStatus.UNAUTHORIZED:
            self.deadline = time.monotonic() + HEAD_S
        transport = self._transport
        if transport is None:
            return
        lines = [f"HTTP/1.1 {response.status} {_REASONS.get(response.status, 'Status')}"]
        lines.append(f"Content-Type: {response.content_type}")
        lines += [f"{name}: {value}" for name, value in response.headers]
        if response.stream is not None:
            lines.append("Transfer-Encoding: chunked\r\n\r\n")
            self._stream = response.stream
            self.deadline = float("inf")
            transport.write("\r\n".join(lines).encode("latin-1") + response.body)
            response.stream.attach(self)
            return
        if self._close_after:
            lines.append("Connection: close")
        lines.append(f"Content-Length: {len(response.body)}\r\n\r\n")
        head = "\r\n".join(lines).encode("latin-1", "replace")
        transport.write(head if request.method == "HEAD" else head + response.body)
        if self._close_after:
            transport.close()
            self._transport = None

    def _refuse(self, bad: http1.BadRequest) -> None:
        text = bad.text.encode()
        head = f"HTTP/1.1 {bad.status} {_REASONS.get(bad.status, 'Bad')}\r\nContent-Type: text/plain\r\n"
        if self._transport is not None:
            self._transport.write(
                head.encode() + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(text) + text
            )
            self._draining = True
            self._buffer.clear()
            self._transport.close()

    def send_chunk(self, chunk: bytes) -> None:
        transport = self._transport
        if transport is None:
            return
        transport.write(chunk)
        if self._paused and transport.get_write_buffer_size() > MAX_BEHIND:
            log.warning("a watcher fell more than %d bytes behind: its connection is cut", MAX_BEHIND)
            self.abort()

    def end_stream(self) -> None:
        self._stream = None
        self.deadline = time.monotonic() + IDLE_S
        if self._transport is not None:
            self._transport.write(b"0\r\n\r\n")
            self._advance()

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def shut(self) -> None:
        """End politely: a stream is finished, an idle connection closed."""
        stream = self._stream
        if stream is not None:
            self._close_after = True
            stream.end()
        if self._transport is not None:
            self._transport.close()
