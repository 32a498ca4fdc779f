"""A blocking Kubernetes HTTP client: requests, lists and watches, bytes in and out.

urllib3 underneath, bodies decoded by msgspec straight to the caller's type. Connections are kept alive and
shared by threads. TCP keep-alive finds a black-holed connection within 30 s; every call has a deadline.
"""

from __future__ import annotations

import os
import socket
import ssl
import threading
from collections.abc import Iterator, Mapping
from typing import Any, Generic, TypeVar
from urllib.parse import quote, urlencode

import msgspec
import urllib3
from urllib3.connection import HTTPConnection

from pycalico.datastore.errors import DatastoreError, Invalid, RevisionExpired, Unauthorized, Unavailable
from pycalico.datastore.kubernetes.access import Access

T = TypeVar("T")

JSON = "application/json"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_PATCH = "application/strategic-merge-patch+json"
JSON_PATCH = "application/json-patch+json"

_KEEPALIVE = [
    *HTTPConnection.default_socket_options,
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 10),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 5),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
    (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 25_000),
]
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
        parts += ["namespaces", quote(namespace, safe="")]
    parts.append(plural)
    if name:
        parts.append(quote(name, safe=""))
    if sub:
        parts.append(sub)
    return "/" + "/".join(parts)


class Rest:
    """One API server. Raises StatusError for refusals, Unavailable when it cannot be reached."""

    def __init__(self, access: Access, *, read_s: float = _READ_S, agent: str = "pycalico") -> None:
        self.access = access
        self._read_s = read_s
        headers = {"User-Agent": agent, "Accept": JSON}
        options: dict[str, Any] = {
            "timeout": urllib3.Timeout(connect=_CONNECT_S, read=read_s),
            "retries": False,
            "maxsize": 8,
            "headers": headers,
            "socket_options": _KEEPALIVE,
        }
        if access.server.startswith("https:"):
            options["ssl_context"] = _tls(access)
            if access.server_name:
                options["server_hostname"] = access.server_name
                options["assert_hostname"] = access.server_name
        self._pool = urllib3.PoolManager(**options)

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
            raise _refusal(response.status, response.data)
        return response.data

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
        """All items, undecoded, page by page; ``cached`` lets the server answer from its cache."""
        wanted = dict(query or {})
        if cached:
            wanted["resourceVersion"] = "0"
        else:
            wanted["limit"] = str(_PAGE)
        items: list[msgspec.Raw] = []
        while True:
            page = decode(self.request("GET", path, query=wanted, read_s=60.0), _RawList)
            items += page.items or []
            if not page.metadata.continue_:
                return Page(items, page.metadata.resource_version)
            wanted["continue"] = page.metadata.continue_

    def list(
        self, path: str, kind: type[T], *, query: Mapping[str, str] | None = None, cached: bool = False
    ) -> Page[T]:
        page = self.list_raw(path, query=query, cached=cached)
        decoder = msgspec.json.Decoder(kind)
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
            body = response.read()
            response.release_conn()
            raise _refusal(response.status, body)
        return RestWatch(response)

    def close(self) -> None:
        self._pool.clear()

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
    ) -> urllib3.BaseHTTPResponse:
        headers = {**self._pool.headers}
        token = self.access.bearer_token()
        if token:
            headers["Authorization"] = f"Bearer {token}"
        elif self.access.username:
            headers.update(urllib3.make_headers(basic_auth=f"{self.access.username}:{self.access.password}"))
        if data is not None:
            headers["Content-Type"] = content_type
        url = self.access.server + path + ("?" + urlencode(query) if query else "")
        try:
            return self._pool.request(
                method,
                url,
                body=data,
                headers=headers,
                preload_content=not stream,
                timeout=urllib3.Timeout(connect=_CONNECT_S, read=read_s or self._read_s),
                redirect=False,
            )
        except urllib3.exceptions.HTTPError as error:
            if _stale(error) and method in ("GET", "PUT", "PATCH"):
                return self._again(method, url, data, headers, stream=stream, read_s=read_s)
            raise Unavailable(f"cannot reach {self.access.server}: {_cause(error)}") from error

    def _again(
        self,
        method: str,
        url: str,
        data: bytes | None,
        headers: Mapping[str, str],
        *,
        stream: bool,
        read_s: float | None,
    ) -> urllib3.BaseHTTPResponse:
        """One more try after the server closed a kept-alive connection under our request."""
        try:
            return self._pool.request(
                method,
                url,
                body=data,
                headers=headers,
                preload_content=not stream,
                timeout=urllib3.Timeout(connect=_CONNECT_S, read=read_s or self._read_s),
                redirect=False,
            )
        except urllib3.exceptions.HTTPError as error:
            raise Unavailable(f"cannot reach {self.access.server}: {_cause(error)}") from error


class RestWatch:
    """A stream of RawEvent; ends when the server closes it. Raises RevisionExpired and Unavailable."""

    def __init__(self, response: urllib3.BaseHTTPResponse) -> None:
        self._response = response
        self._closed = threading.Event()
        self._decoder = msgspec.json.Decoder(RawEvent)

    def __iter__(self) -> Iterator[RawEvent]:
        rest = b""
        try:
            for chunk in self._response.stream(amt=65536):
                rest += chunk
                if b"\n" not in chunk:
                    continue
                *lines, rest = rest.split(b"\n")
                for line in filter(None, lines):
                    yield self._event(line)
        except (urllib3.exceptions.HTTPError, OSError, ValueError, AttributeError) as error:
            # Closing from another thread surfaces as any of these in the reading one.
            if not self._closed.is_set():
                raise Unavailable(f"watch broken: {error}") from error
        finally:
            self._response.close()

    def _event(self, line: bytes) -> RawEvent:
        event = self._decoder.decode(line)
        if event.type == "ERROR":
            status = msgspec.json.decode(event.object, type=_Status)
            if status.code == 410 or status.reason in ("Expired", "Gone"):
                raise RevisionExpired(status.message)
            raise StatusError(status.code, status.reason, status.message)
        return event

    def close(self) -> None:
        self._closed.set()
        try:
            self._response.shutdown()
        except (AttributeError, OSError, ValueError, urllib3.exceptions.HTTPError):
            self._response.close()


def decode(data: bytes | msgspec.Raw, kind: type[T]) -> T:
    """The value of a JSON body. Raises Invalid when it is not of the expected shape."""
    try:
        return msgspec.json.decode(data, type=kind)
    except msgspec.DecodeError as error:
        raise Invalid(f"cannot decode {getattr(kind, '__name__', kind)}: {error}") from error


def _refusal(code: int, body: bytes) -> DatastoreError:
    try:
        status = msgspec.json.decode(body, type=_Status)
    except msgspec.DecodeError:
        status = _Status(message=body[:200].decode(errors="replace").strip())
    if code in (401, 403):
        return Unauthorized(status.message or f"HTTP {code}")
    if code == 410:
        return RevisionExpired(status.message)
    if code >= 500 or code == 429:
        return Unavailable(status.message or f"the server answered {code}")
    return StatusError(code, status.reason, status.message)


def _stale(error: BaseException) -> bool:
    return isinstance(error, urllib3.exceptions.ProtocolError)


def _cause(error: urllib3.exceptions.HTTPError) -> str:
    reason = getattr(error, "reason", None) or error
    text = str(reason)
    # urllib3 prefixes its messages with the connection's repr; the part after it is for people.
    return text.split(": ", 1)[1] if text.startswith("<") and ": " in text else text


def _tls(access: Access) -> ssl.SSLContext:
    context = ssl.create_default_context(cadata=access.ca.decode() if access.ca else None)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if access.insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if access.plugin and not access.certificate and not access.token:
        access.bearer_token()
    if access.certificate and access.key:
        # The library loads a certificate from a file only; an anonymous one leaves nothing on disk.
        descriptor = os.memfd_create("client-certificate")
        try:
            os.write(descriptor, access.certificate + b"\n" + access.key)
            context.load_cert_chain(f"/proc/self/fd/{descriptor}")
        except ssl.SSLError as error:
            raise Invalid(f"the client certificate and key do not fit: {error}") from error
        finally:
            os.close(descriptor)
    return context
