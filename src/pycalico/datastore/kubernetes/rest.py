"""A blocking Kubernetes HTTP client: requests, lists and watches, bytes in and out.

Bodies are decoded by msgspec straight to the caller's type. Connections (``http1``) are kept alive and shared by
threads. TCP keep-alive finds a black-holed connection within 30 s; every call has a deadline.
"""

from __future__ import annotations

import binascii
import threading
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Generic, TypeVar

import msgspec

from pycalico.base import shapes
from pycalico.datastore import http1
from pycalico.datastore.errors import DatastoreError, Invalid, RevisionExpired, Unauthorized, Unavailable
from pycalico.datastore.kubernetes.access import Access

if TYPE_CHECKING:
    from pycalico.datastore import tls as transport

T = TypeVar("T")

JSON = "application/json"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_PATCH = "application/strategic-merge-patch+json"
JSON_PATCH = "application/json-patch+json"

_CONNECT_S = 5.0
_READ_S = 30.0
#: The server is asked to end a watch after this long; a longer one would hide a dead connection.
_WATCH_S = 480
_PAGE = 1000


class StatusError(DatastoreError):
    """The API server's refusal: HTTP code, reason (``NotFound``, ``Conflict``, ...) and message."""

    def __init__(self, code: int, reason: str, message: str) -> None:
        super().__init__(message or f"the server answered {code}")
        self.code = code
        self.reason = reason


class _Status(msgspec.Struct):
    message: str = ""
    reason: str = ""
    code: int = 0


class ListMeta(msgspec.Struct, rename="camel"):
    resource_version: str = ""
    continue_: str = msgspec.field(default="", name="continue")


class _RawList(msgspec.Struct):
    metadata: ListMeta = msgspec.field(default_factory=ListMeta)
    items: list[msgspec.Raw] | None = []


class RawEvent(msgspec.Struct):
    """``type`` is ADDED, MODIFIED, DELETED, BOOKMARK or ERROR."""

    type: str
    object: msgspec.Raw


class Page(msgspec.Struct, Generic[T]):
    """All items of a list, and the revision to watch from."""

    items: list[T]
    revision: str


def path_of(api: str, plural: str, namespace: str = "", name: str = "", sub: str = "") -> str:
    """``("v1", "pods", "default", "web", "status")`` → ``/api/v1/namespaces/default/pods/web/status``."""
    parts = ["api" if "/" not in api else "apis", api]
    if namespace:
        parts += ["namespaces", _quoted(namespace)]
    parts.append(plural)
    if name:
        parts.append(_quoted(name))
    if sub:
        parts.append(sub)
    return "/" + "/".join(parts)


#: What a part of a path or query may hold as it is (RFC 3986, unreserved).
_PLAIN = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")


def _quoted(text: str) -> str:
    """Percent-encoded; ``urllib.parse`` costs 4 ms to load."""
    return "".join(chr(byte) if byte in _PLAIN else f"%{byte:02X}" for byte in text.encode())


def _encoded(query: Mapping[str, str]) -> str:
    return "&".join(f"{_quoted(key)}={_quoted(value)}" for key, value in query.items())


class Rest:
    """One API server. Raises StatusError for refusals, Unavailable when it cannot be reached."""

    def __init__(self, access: Access, *, read_s: float = _READ_S, agent: str = "pycalico") -> None:
        self.access = access
        self._headers = {"User-Agent": agent, "Accept": JSON}
        try:
            scheme, host, port, self._base = http1.split_url(access.server)
        except ValueError as error:
            raise Invalid(f"the Kubernetes API server's address is wrong: {error}") from error
        self._server = http1.Server(
            host,
            port,
            _tls(access) if scheme == "https" else None,
            connect_s=_CONNECT_S,
            read_s=read_s,
            server_name=access.server_name,
        )

    def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: object = None,
        content_type: str = JSON,
        read_s: float | None = None,
    ) -> bytes:
        """The body of a successful answer. ``body`` may be bytes, or anything msgspec encodes."""
        data = body if isinstance(body, bytes) or body is None else msgspec.json.encode(body)
        response = self._send(method, path, query, data, content_type, stream=False, read_s=read_s)
        if response.status == 401 and self.access.forget_token():
            response = self._send(method, path, query, data, content_type, stream=False, read_s=read_s)
        if response.status >= 300:
            raise _refusal(response.status, response.body)
        return response.body

    def ping(self, timeout_s: float) -> None:
        """Asks for what costs the server nothing and is open to all. Raises DatastoreError."""
        self.request("GET", "/version", read_s=timeout_s)

    def get(self, path: str, kind: type[T], *, query: Mapping[str, str] | None = None) -> T:
        return decode(self.request("GET", path, query=query), kind)

    def create(self, path: str, body: object, kind: type[T]) -> T:
        return decode(self.request("POST", path, body=body), kind)

    def replace(self, path: str, body: object, kind: type[T]) -> T:
        return decode(self.request("PUT", path, body=body), kind)

    def patch(self, path: str, body: object, kind: type[T], content_type: str = MERGE_PATCH) -> T:
        return decode(self.request("PATCH", path, body=body, content_type=content_type), kind)

    def delete(self, path: str, *, uid: str = "", revision: str = "", grace_s: int | None = None) -> bytes:
        preconditions = {key: value for key, value in (("uid", uid), ("resourceVersion", revision)) if value}
        options: dict[str, object] = {"kind": "DeleteOptions", "apiVersion": "v1"}
        if preconditions:
            options["preconditions"] = preconditions
        if grace_s is not None:
            options["gracePeriodSeconds"] = grace_s
        return self.request("DELETE", path, body=options)

    def list_raw(
        self, path: str, *, query: Mapping[str, str] | None = None, cached: bool = False
    ) -> Page[msgspec.Raw]:
        """All items, undecoded; ``cached`` lets the server answer from its cache."""
        items: list[msgspec.Raw] = []
        revision = ""
        for page in self.pages(path, query=query, cached=cached):
            items += page.items
            revision = page.revision
        return Page(items, revision)

    def pages(
        self, path: str, *, query: Mapping[str, str] | None = None, cached: bool = False
    ) -> Iterator[Page[msgspec.Raw]]:
        """The same page by page, so that the caller need not hold all of them at once."""
        wanted = dict(query or {})
        if cached:
            wanted["resourceVersion"] = "0"
        else:
            wanted["limit"] = str(_PAGE)
        while True:
            page = decode(self.request("GET", path, query=wanted, read_s=60.0), _RawList)
            yield Page(page.items or [], page.metadata.resource_version)
            if not page.metadata.continue_:
                return
            wanted["continue"] = page.metadata.continue_

    def list(
        self, path: str, kind: type[T], *, query: Mapping[str, str] | None = None, cached: bool = False
    ) -> Page[T]:
        page = self.list_raw(path, query=query, cached=cached)
        decoder = shapes.decoder(kind)
        return Page([decoder.decode(item) for item in page.items], page.revision)

    def watch(self, path: str, *, revision: str = "", query: Mapping[str, str] | None = None) -> RestWatch:
        """Events after ``revision``; bookmarks included."""
        wanted = {
            **(query or {}),
            "watch": "true",
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(_WATCH_S),
        }
        if revision:
            wanted["resourceVersion"] = revision
        response = self._send("GET", path, wanted, None, JSON, stream=True, read_s=_WATCH_S + 30.0)
        if response.status == 401 and self.access.forget_token():
            response = self._send("GET", path, wanted, None, JSON, stream=True, read_s=_WATCH_S + 30.0)
        if response.status >= 300:
            raise _refusal(response.status, response.body)
        return RestWatch(response)

    def close(self) -> None:
        self._server.close()

    def _send(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None,
        data: bytes | None,
        content_type: str,
        *,
        stream: bool,
        read_s: float | None,
    ) -> http1.Answer:
        headers = dict(self._headers)
        token = self.access.bearer_token()
        if token:
            headers["Authorization"] = f"Bearer {token}"
        elif self.access.username:
            pair = f"{self.access.username}:{self.access.password}".encode()
            headers["Authorization"] = f"Basic {binascii.b2a_base64(pair, newline=False).decode()}"
        if data is not None:
            headers["Content-Type"] = content_type
        target = self._base + path + ("?" + _encoded(query) if query else "")
        try:
            return self._server.request(method, target, headers, data, stream=stream, read_s=read_s)
        except OSError as error:
            raise Unavailable(f"cannot reach {self.access.server}: {_cause(error)}") from error


class RestWatch:
    """A stream of RawEvent; ends when the server closes it. Raises RevisionExpired and Unavailable."""

    def __init__(self, response: http1.Answer) -> None:
        self._response = response
        self._closed = threading.Event()
        self._decoder = shapes.decoder(RawEvent)

    def __iter__(self) -> Iterator[RawEvent]:
        try:
            for line in self._response.lines():
                if line:
                    yield self._event(line)
        except (OSError, ValueError) as error:
            # Closing from another thread surfaces as any of these in the reading one.
            if not self._closed.is_set():
                raise Unavailable(f"watch broken: {error}") from error
        finally:
            self._response.connection.close()

    def _event(self, line: bytes) -> RawEvent:
        event = self._decoder.decode(line)
        if event.type == "ERROR":
            status = shapes.decode(event.object, _Status)
            if status.code == 410 or status.reason in ("Expired", "Gone"):
                raise RevisionExpired(status.message)
            raise StatusError(status.code, status.reason, status.message)
        return event

    def close(self) -> None:
        self._closed.set()
        self._response.connection.end()


def decode(data: bytes | msgspec.Raw, kind: type[T]) -> T:
    """The value of a JSON body. Raises Invalid when it is not of the expected shape."""
    try:
        return shapes.decode(data, kind)
    except msgspec.DecodeError as error:
        raise Invalid(f"cannot decode {getattr(kind, '__name__', kind)}: {error}") from error


def _refusal(code: int, body: bytes) -> DatastoreError:
    try:
        status = shapes.decode(body, _Status)
    except msgspec.DecodeError:
        status = _Status(message=body[:200].decode(errors="replace").strip())
    if code in (401, 403):
        return Unauthorized(status.message or f"HTTP {code}", forbidden=code == 403)
    if code == 410:
        return RevisionExpired(status.message)
    if code >= 500 or code == 429:
        return Unavailable(status.message or f"the server answered {code}")
    return StatusError(code, status.reason, status.message)


def _cause(error: OSError) -> str:
    if isinstance(error, TimeoutError):
        return "timed out"
    return error.strerror or str(error) or type(error).__name__


def _tls(access: Access) -> transport.Context:
    from pycalico.datastore import tls  # noqa: PLC0415 - plain servers do without

    context = tls.Context(ca=access.ca.decode() if access.ca else "", insecure=access.insecure)
    if access.plugin and not access.certificate and not access.token:
        access.bearer_token()
    if access.certificate and access.key:
        try:
            context.show_text(access.certificate, access.key)
        except tls.Error as error:
            raise Invalid(f"the client certificate and key do not fit: {error}") from error
    return context
