"""A small HTTP/1.1 client: one server, kept connections, whole answers or streams of lines.

Every process of a node and every run of calicoctl and of a plugin talks to one server. The well-kept clients cost more
to load than such a run takes altogether, and stay in memory seven times a node: urllib3 47 ms and 8 MB, http.client
8 ms (measured; a whole ``calicoctl get`` has 100 ms). What is here is what API servers and etcd need: no redirects, no
proxies, no compression.
"""

from __future__ import annotations

import contextlib
import select
import socket
import threading
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pycalico.datastore import tls as transport

_MOST_LINE = 65536
_MOST_FIELDS = 200
_KEPT = 8
#: TCP finds a black-holed connection within 25 s, also when nothing is being sent.
_OPTIONS = (
    (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 10),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 5),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
    (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 25_000),
)


class Closed(ConnectionError):
    """The server ended the connection, or what it sent is no HTTP."""


class Answer:
    """``body`` is whole; for a stream it is empty and `lines` yields what comes."""

    __slots__ = ("body", "connection", "fields", "status")

    def __init__(self, status: int, fields: dict[str, str], body: bytes, connection: Connection) -> None:
        self.status, self.fields, self.body, self.connection = status, fields, body, connection

    def lines(self) -> Iterator[bytes]:
        """Each line of a streamed body as it comes. Raises OSError, from `Connection.end` also."""
        rest: list[bytes] = []
        for piece in self.connection.pieces(self.fields):
            if b"\n" not in piece:
                # A line may be megabytes long and come in many pieces: they are joined once.
                rest.append(piece)
                continue
            first, *whole = piece.split(b"\n")
            yield b"".join([*rest, first])
            rest = [whole.pop()]
            yield from whole
        last = b"".join(rest)
        if last:
            yield last


def _plain(host: str) -> Any:
    """As bytes where it can be: a str is sent through the codec for international names, which takes 2 ms to load."""
    return host.encode() if host.isascii() else host


def open_socket(
    host: str, port: int, tls: transport.Context | None, *, connect_s: float, server_name: str = ""
) -> socket.socket | transport.Stream:
    """Connected, and one that notices when the other side is gone. Raises OSError."""
    opened = socket.create_connection((_plain(host), port), timeout=connect_s)
    try:
        for option in _OPTIONS:
            opened.setsockopt(*option)
        return tls.wrapped(opened, server_name or host) if tls else opened
    except OSError:
        opened.close()
        raise


class Connection:
    """Raises OSError, from the constructor when nobody listens. Without ``tls`` all is plain.

    ``server_name`` is what the certificate must be for, when that is not the host.
    """

    def __init__(
        self,
        host: str,
        port: int,
        tls: transport.Context | None,
        *,
        connect_s: float,
        read_s: float,
        server_name: str = "",
    ) -> None:
        self._host = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self._socket = open_socket(host, port, tls, connect_s=connect_s, server_name=server_name)
        self._socket.settimeout(read_s)
        self._file = self._socket.makefile("rb")
        #: Whether another request may follow.
        self.reusable = True

    def post(self, path: str, body: bytes, headers: Mapping[str, str]) -> tuple[int, bytes]:
        """The status and the whole body of the answer."""
        answer = self.request("POST", path, headers, body)
        return answer.status, answer.body

    def request(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str],
        body: bytes | None = None,
        *,
        stream: bool = False,
        read_s: float | None = None,
    ) -> Answer:
        """A successful ``stream`` is left unread; ``read_s`` is for what it yields, its beginning has as long as others.

        Header values must hold no line break: ValueError.
        """
        if read_s is not None and not stream:
            self._socket.settimeout(read_s)
        self.send(method, path, headers, body)
        answer = self.receive(stream=stream)
        if read_s is not None and stream:
            self._socket.settimeout(read_s)
        return answer

    def send(self, method: str, path: str, headers: Mapping[str, str], body: bytes | None = None) -> None:
        """The first half of a request; `receive` has to follow."""
        lines = [f"{method} {path} HTTP/1.1", f"Host: {self._host}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        if body is not None:
            lines.append(f"Content-Length: {len(body)}")
        if any("\r" in line or "\n" in line for line in lines):
            raise ValueError("a header with a line break")
        self._socket.sendall("\r\n".join([*lines, "", ""]).encode() + (body or b""))

    def receive(self, *, stream: bool = False) -> Answer:
        """The second half."""
        while True:
            status = self._status()
            fields = self._fields()
            if status >= 200:
                break
        if fields.get("connection", "").lower() == "close":
            self.reusable = False
        if stream and status < 300:
            self.reusable = False
            return Answer(status, fields, b"", self)
        content = b"" if status in (204, 304) else b"".join(self.pieces(fields))
        return Answer(status, fields, content, self)

    def is_fresh(self) -> bool:
        """Whether the server has kept its side open; an idle connection has nothing to read."""
        try:
            poll = select.poll()
            poll.register(self._socket, select.POLLIN)
            return not poll.poll(0)
        except (OSError, ValueError):
            return False

    @property
    def is_open(self) -> bool:
        """Until `close`."""
        return not self._file.closed

    def end(self) -> None:
        """From any thread: a reader that waits gets an error."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._file.close()
            self._socket.close()

    def pieces(self, fields: Mapping[str, str]) -> Iterator[bytes]:
        """The body, as it comes."""
        if fields.get("transfer-encoding", "").lower() == "chunked":
            yield from self._chunks()
            return
        length = fields.get("content-length", "")
        if length.isdigit():
            yield self._exactly(int(length))
            return
        self.reusable = False
        while piece := self._file.read1(_MOST_LINE):
            yield piece

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
            if len(found) > _MOST_FIELDS:
                raise Closed("the answer is no HTTP")
        return found

    def _chunks(self) -> Iterator[bytes]:
        while True:
            size = self._line().partition(b";")[0]
            try:
                length = int(size, 16)
            except ValueError as error:
                raise Closed("the answer is no HTTP") from error
            if not length:
                self._fields()
                return
            yield self._exactly(length)
            self._line()

    def _exactly(self, length: int) -> bytes:
        data = self._file.read(length)
        if len(data) != length:
            raise Closed("the connection was closed")
        return data


class Server:
    """Connections to one server, kept and shared by threads. ``tls`` as in Connection."""

    def __init__(
        self,
        host: str,
        port: int,
        tls: transport.Context | None = None,
        *,
        connect_s: float = 5.0,
        read_s: float = 30.0,
        server_name: str = "",
    ) -> None:
        self._where = (host, port, tls)
        self._settings = {"connect_s": connect_s, "read_s": read_s, "server_name": server_name}
        self._read_s = read_s
        self._lock = threading.Lock()
        self._idle: list[Connection] = []
        self._closed = False

    def request(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str],
        body: bytes | None = None,
        *,
        stream: bool = False,
        read_s: float | None = None,
    ) -> Answer:
        """Raises OSError.

        A kept connection that the server had closed is replaced by a new one, once, unless the request may have been
        carried out: only GET, PUT and PATCH are sent again.
        """
        connection = self._kept()
        kept = connection is not None
        if connection is None:
            connection = self._new()
        try:
            answer = connection.request(
                method, path, headers, body, stream=stream, read_s=read_s or self._read_s
            )
        except TimeoutError:
            connection.close()
            raise
        except OSError:
            connection.close()
            if not kept or method not in ("GET", "PUT", "PATCH"):
                raise
            connection = self._new()
            try:
                answer = connection.request(
                    method, path, headers, body, stream=stream, read_s=read_s or self._read_s
                )
            except BaseException:
                connection.close()
                raise
        except BaseException:
            connection.close()
            raise
        if not stream or answer.status >= 300:
            self._keep(connection)
        return answer

    def _new(self) -> Connection:
        host, port, tls = self._where
        return Connection(host, port, tls, **self._settings)  # type: ignore[arg-type]

    def _kept(self) -> Connection | None:
        while True:
            with self._lock:
                if not self._idle:
                    return None
                connection = self._idle.pop()
            if connection.is_fresh():
                return connection
            connection.close()

    def _keep(self, connection: Connection) -> None:
        with self._lock:
            if connection.reusable and not self._closed and len(self._idle) < _KEPT:
                self._idle.append(connection)
                return
        connection.close()

    def close(self) -> None:
        """Connections at work are closed when they come back."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()


def split_url(url: str) -> tuple[str, str, int, str]:
    """(scheme, host, port, path without its last slash) of ``https://[::1]:6443/base/``. Raises ValueError."""
    scheme, mark, rest = url.partition("://")
    place, _, path = rest.partition("/")
    if not mark or scheme not in ("http", "https") or not place or "@" in place:
        raise ValueError(f"{url} is no address of an HTTP server")
    host, _, port = place.rpartition(":") if ":" in place.rpartition("]")[2] else (place, "", "")
    number = int(port) if port else (443 if scheme == "https" else 80)
    return scheme, host.strip("[]"), number, f"/{path}".rstrip("/")
