"""A small HTTP server for probes and scrapes: one thread, whatever the clients do.

Each connection is one GET or HEAD and its answer, and ends within `LIFE_S` of its beginning. At most `MOST` are open: one
more pushes out the oldest, which, since whole requests are answered at once, is one that does not get on with its
request or its answer. A request head has at most `HEAD_MOST` bytes; bodies are not read.
"""

from __future__ import annotations

import contextlib
import logging
import selectors
import socket
import threading
import time
from collections.abc import Callable
from http import HTTPStatus
from typing import Final, NamedTuple

log = logging.getLogger(__name__)

LIFE_S: Final = 5.0
MOST: Final = 32
HEAD_MOST: Final = 8192
_BACKLOG: Final = 128
#: After an accept that failed with nothing to close: descriptors are other threads' matter, and may come back.
_PAUSE_S: Final = 0.2
_ENDS: Final = (b"\r\n\r\n", b"\n\n")


class Answer(NamedTuple):
    status: int
    body: bytes = b""
    content_type: str = "text/plain; charset=utf-8"


NOT_FOUND: Final = Answer(404, b"404 page not found\n")


class _Connection:
    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.deadline_s = time.monotonic() + LIFE_S
        self.given = bytearray()
        self.left = b""
        self.answered = False


class Server:
    """Listens when made. ``answer`` gets the path without its query. Raises OSError when the port cannot be had.

    ``host``: a name or address, empty for all of IPv4. ``port`` 0 takes a free one; `port` says which.
    """

    def __init__(self, host: str, port: int, answer: Callable[[str], Answer], name: str) -> None:
        found = socket.getaddrinfo(host or "0.0.0.0", port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, _, _, _, address = next((item for item in found if item[0] == socket.AF_INET), found[0])
        self._answer = answer
        self._listener = socket.create_server(address[:2], family=family, backlog=_BACKLOG)
        self._listener.setblocking(False)
        self.port: int = self._listener.getsockname()[1]
        self._connections: dict[socket.socket, _Connection] = {}
        self._waker, self._woken = socket.socketpair()
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._selector.register(self._woken, selectors.EVENT_READ)
        self._thread = threading.Thread(target=self._serve, daemon=True, name=name)
        self._thread.start()

    def close(self) -> None:
        """The port is free when this returns."""
        self._waker.close()
        self._thread.join()

    def _serve(self) -> None:
        try:
            while self._turn():
                pass
        finally:
            for connection in list(self._connections.values()):
                self._drop(connection)
            self._selector.close()
            self._listener.close()
            self._woken.close()

    def _turn(self) -> bool:
        """One wait and what it brought; False at the end."""
        # Made in order, so the first is the next to end.
        first = next(iter(self._connections.values()), None)
        wait_s = max(0.0, first.deadline_s - time.monotonic()) if first else None
        for key, _ in self._selector.select(wait_s):
            sock = key.fileobj
            if sock is self._woken:
                return False
            if sock is self._listener:
                self._accept()
            elif isinstance(sock, socket.socket) and sock in self._connections:
                self._attend(self._connections[sock])
        now = time.monotonic()
        for connection in list(self._connections.values()):
            if connection.deadline_s > now:
                break
            self._drop(connection)
        return True

    def _accept(self) -> None:
        try:
            sock, _ = self._listener.accept()
        except BlockingIOError:
            return
        except OSError as error:
            if self._connections:
                self._drop(next(iter(self._connections.values())))
            else:
                log.warning("cannot take a connection: %s", error.strerror)
                time.sleep(_PAUSE_S)
            return
        if len(self._connections) >= MOST:
            self._drop(next(iter(self._connections.values())))
        sock.setblocking(False)
        self._connections[sock] = _Connection(sock)
        self._selector.register(sock, selectors.EVENT_READ)

    def _attend(self, connection: _Connection) -> None:
        try:
            if connection.left:
                self._write(connection)
            else:
                self._read(connection)
        except BlockingIOError:
            pass
        except OSError:
            self._drop(connection)

    def _read(self, connection: _Connection) -> None:
        data = connection.sock.recv(HEAD_MOST)
        if not data:
            self._drop(connection)
            return
        if connection.answered:
            return  # what comes after the request is of no interest, but unread it would cost the client its answer
        connection.given += data
        whole = any(end in connection.given for end in _ENDS)
        if not whole and len(connection.given) < HEAD_MOST:
            return
        connection.answered = True
        connection.left = self._reply(bytes(connection.given)) if whole else _head(Answer(431))
        self._selector.modify(connection.sock, selectors.EVENT_WRITE)
        self._write(connection)

    def _write(self, connection: _Connection) -> None:
        sent = connection.sock.send(connection.left)
        connection.left = connection.left[sent:]
        if not connection.left:
            connection.sock.shutdown(socket.SHUT_WR)
            self._selector.modify(connection.sock, selectors.EVENT_READ)

    def _reply(self, request: bytes) -> bytes:
        words = request.split(b"\n", 1)[0].split()
        if len(words) != 3 or not words[2].startswith(b"HTTP/1."):
            return _head(Answer(400))
        if words[0] not in (b"GET", b"HEAD"):
            return _head(Answer(405))
        try:
            answer = self._answer(words[1].split(b"?", 1)[0].decode("latin-1"))
        except Exception:
            # One answer that fails must not end the thread that gives all others.
            log.exception("a request was not answered")
            answer = Answer(500)
        return _head(answer) + (answer.body if words[0] == b"GET" else b"")

    def _drop(self, connection: _Connection) -> None:
        del self._connections[connection.sock]
        with contextlib.suppress(KeyError):
            self._selector.unregister(connection.sock)
        connection.sock.close()


def _head(answer: Answer) -> bytes:
    return (
        f"HTTP/1.1 {answer.status} {HTTPStatus(answer.status).phrase}\r\nConnection: close\r\n"
        f"Content-Type: {answer.content_type}\r\nContent-Length: {len(answer.body)}\r\n\r\n"
    ).encode()
