"""etcd's JSON gateway (``/v3/kv/range`` and the like) over HTTP: bytes in, structs out; lists by ``grpc`` where that works.

Requests and watches go over connections of ``http1``, since calicoctl starts anew for every command and a larger client
costs more to load than the request takes. Endpoints are tried in turn; the first that answers is kept.
"""

from __future__ import annotations

import binascii
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from pycalico.base import shapes
from pycalico.datastore.config import DatastoreConfig
from pycalico.datastore.errors import DatastoreError, Unauthorized, Unavailable
from pycalico.datastore.etcd.answers import Header, KeyValue, RangeAnswer
from pycalico.datastore.etcd.endpoints import check_files, endpoints_of, parts, tls_of
from pycalico.datastore.etcd.grpc import Channel
from pycalico.datastore.etcd.refusals import NO_AUTHENTICATION, refusal, told
from pycalico.datastore.http1 import Answer, Connection

if TYPE_CHECKING:
    from pycalico.datastore import tls as transport

T = TypeVar("T")

_CONNECT_S = 5.0
READ_S = 30.0
#: A watch may be silent: etcd reports progress every ten minutes, and TCP finds a dead connection much sooner.
_SILENCE_S = 1500.0
#: Connections that wait for the next request: as many as the agent of the CNI plugins has calls at once.
_KEPT = 32
_RANGE, _TXN = "/v3/kv/range", "/v3/kv/txn"
_JSON = {"Content-Type": "application/json"}


class _OperationAnswer(msgspec.Struct):
    response_range: RangeAnswer | None = None


class TxnAnswer(msgspec.Struct):
    header: Header = msgspec.field(default_factory=Header)
    succeeded: bool = False
    responses: list[_OperationAnswer] = []

    @property
    def ranges(self) -> list[RangeAnswer]:
        """What each read of the transaction found, in order."""
        return [each.response_range for each in self.responses if each.response_range is not None]

    @property
    def found(self) -> KeyValue | None:
        """What the failure branch read."""
        for answer in self.responses:
            if answer.response_range is not None and answer.response_range.kvs:
                return answer.response_range.kvs[0]
        return None


class Change(msgspec.Struct, frozen=True):
    """A part of a transaction: ``value`` None deletes. ``revision``: where the key has to be, None for absent."""

    key: str
    value: bytes | None
    revision: str | None


class _Token(msgspec.Struct):
    token: str = ""


def b64(data: bytes | str) -> str:
    return binascii.b2a_base64(data.encode() if isinstance(data, str) else data, newline=False).decode()


def prefix_end(prefix: str) -> str:
    """The first key after all that start with ``prefix`` (base64)."""
    return b64(_end(prefix))


def _end(prefix: str) -> bytes:
    data = bytearray(prefix.encode())
    data[-1] += 1
    return bytes(data)


class _Listing:
    """Keys from ``begin`` until before ``end``, as of one revision: by gRPC, or else through the gateway."""

    def __init__(
        self, gateway: Gateway, begin: bytes, end: bytes, *, limit: int = 0, revision: str = ""
    ) -> None:
        self._gateway, self._begin, self._end = gateway, begin, end
        self._limit, self.revision = limit, revision
        self._channel: Channel | None = None
        self._by_grpc = True

    def next(self) -> RangeAnswer:
        """At most ``limit`` of them, if there is one. Raises DatastoreError."""
        found = self._directly() if self._by_grpc else None
        if found is None:
            # The gateway serves as well, and tells what is wrong if something is.
            self._by_grpc = False
            body: dict[str, Any] = {"key": b64(self._begin), "range_end": b64(self._end)}
            if self._limit:
                body["limit"] = self._limit
            if self.revision:
                body["revision"] = self.revision
            found = self._gateway.call(_RANGE, body, RangeAnswer)
        self.revision = self.revision or found.header.revision
        if found.kvs:
            self._begin = found.kvs[-1].key + b"\0"
        return found

    def _directly(self) -> RangeAnswer | None:
        """Asks each endpoint once; a silent one is silent to the gateway's client as well. Raises DatastoreError."""
        token, silent = self._gateway.token(), None
        for _ in range(self._gateway.endpoints):
            endpoint = self._gateway.endpoint
            try:
                return self._asked(token).answer()
            except TimeoutError as error:
                silent = error
                self.close()
                self._gateway.leave(endpoint)
            except OSError:
                return None
        raise self._gateway.unreachable(silent)

    def _asked(self, token: str) -> Channel:
        """Raises OSError."""
        if self._channel is None and not self.revision:
            self._channel = self._gateway.asked_ahead(self._begin, self._limit)
        if self._channel is None:
            self._channel = self._gateway.channel()
        if not self._channel.is_asked:
            revision = int(self.revision or 0)
            self._channel.ask(self._begin, self._end, limit=self._limit, revision=revision, token=token)
        return self._channel

    def close(self) -> None:
        if self._channel is not None:
            self._channel.close()
            self._channel = None


class Gateway:
    """Connections to one etcd cluster; may be used from several threads."""

    def __init__(self, config: DatastoreConfig, *, read_s: float = READ_S) -> None:
        """Raises Invalid when endpoints or certificates cannot be used. Connects on the first request."""
        self._read_s = read_s
        self._endpoints = endpoints_of(config)
        self._tls = tls_of(config) if any(each.startswith("https:") for each in self._endpoints) else None
        if self._tls is None:
            check_files(config)
        self._user, self._password = config.etcd_username, config.etcd_password
        self._token = ""
        self._lock = threading.Lock()
        self._idle: list[tuple[str, Connection]] = []
        self._config = config
        self._ahead: dict[tuple[bytes, int], Channel] = {}
        self._streams: list[tuple[str, Connection]] = []
        self._tls_of_channels: transport.Context | None = None

    # ---- requests ----

    def range(
        self, key: str, *, prefix: bool = False, revision: str = "", keys_only: bool = False
    ) -> RangeAnswer:
        if prefix and not keys_only:
            listing = _Listing(self, key.encode(), _end(key), revision=revision)
            try:
                return listing.next()
            finally:
                listing.close()
        body: dict[str, Any] = {"key": b64(key)}
        if prefix:
            body["range_end"] = prefix_end(key)
        if revision:
            body["revision"] = revision
        if keys_only:
            body["keys_only"] = True
        return self.call(_RANGE, body, RangeAnswer)

    def ask_ahead(self, prefix: str, limit: int = 0) -> None:
        """Asks for all keys under ``prefix`` now; the `range`, or the `pages` of that size, then waits for less.

        A run of calicoctl loads its modules meanwhile. What goes wrong is left to who wants them.
        """
        if self._user:
            return
        begin = prefix.encode()
        try:
            channel = self.channel()
            channel.ask(begin, _end(prefix), limit=limit)
        except OSError:
            return
        self._ahead[begin, limit] = channel

    def pages(self, prefix: str, size: int) -> Iterator[RangeAnswer]:
        """All keys under ``prefix`` as of one revision, ``size`` at a time: memory does not grow with their number."""
        listing = _Listing(self, prefix.encode(), _end(prefix), limit=size)
        try:
            while True:
                answer = listing.next()
                answer.header.revision = listing.revision
                yield answer
                if not answer.more or not answer.kvs:
                    return
        finally:
            listing.close()

    def put_if(self, key: str, value: bytes, revision: str | None, lease: str = "") -> TxnAnswer:
        """Writes if the key is at ``revision`` (None: absent); otherwise reads it. ``revision`` "" always writes."""
        put: dict[str, Any] = {"key": b64(key), "value": b64(value)}
        if lease:
            put["lease"] = lease
        return self._txn(key, revision, {"request_put": put})

    def delete_if(self, key: str, revision: str) -> TxnAnswer:
        """Deletes if the key is at ``revision`` ("": whatever it is at, if it is there); otherwise reads it."""
        return self._txn(key, revision, {"request_delete_range": {"key": b64(key)}}, exists=True)

    def all_or_none(self, changes: Sequence[Change]) -> TxnAnswer:
        """All changes, if every key is where it has to be. etcd takes 128 of them at most."""
        body = {
            "compare": [part for change in changes for part in _compare(change.key, change.revision)],
            "success": [
                {"request_delete_range": {"key": b64(change.key)}}
                if change.value is None
                else {"request_put": {"key": b64(change.key), "value": b64(change.value)}}
                for change in changes
            ],
        }
        return self.call(_TXN, body, TxnAnswer)

    def read_all(self, keys: Sequence[str]) -> list[RangeAnswer]:
        """Keys as of one moment, in their order; etcd takes 128 of them at most."""
        body = {"success": [{"request_range": {"key": b64(key)}} for key in keys]}
        return self.call(_TXN, body, TxnAnswer).ranges

    def _txn(
        self, key: str, revision: str | None, operation: Mapping[str, Any], *, exists: bool = False
    ) -> TxnAnswer:
        compare = _compare(key, revision)
        if exists and not compare:
            compare = [{"key": b64(key), "target": "VERSION", "result": "GREATER", "version": "0"}]
        body = {
            "compare": compare,
            "success": [operation],
            "failure": [{"request_range": {"key": b64(key)}}],
        }
        return self.call(_TXN, body, TxnAnswer)

    def delete_prefix(self, prefix: str) -> None:
        body = {"key": b64(prefix), "range_end": prefix_end(prefix)}
        self.call("/v3/kv/deleterange", body, RangeAnswer)

    def call(self, path: str, body: object, kind: type[T]) -> T:
        """Raises Unavailable, Unauthorized, RevisionExpired or DatastoreError."""
        data = msgspec.json.encode(body)
        for again in (True, False):
            status, answer = self._request(path, data)
            if status < 300:
                return shapes.decode(answer, kind)
            error = refusal(status, answer)
            if isinstance(error, Unauthorized) and self._user and again:
                self._token = ""
                continue
            raise self._placed(error)
        raise AssertionError

    def stream(self, path: str, body: object) -> Answer:
        """An open answer whose lines arrive as they happen, on a connection of its own."""
        data = msgspec.json.encode(body)
        last: OSError | None = None
        again = bool(self._user)
        tries = len(self._endpoints)
        while tries:
            headers = self._headers()
            connection: Connection | None = None
            try:
                endpoint = self.endpoint
                connection = self._connect(endpoint)
                with self._lock:
                    self._streams = [each for each in self._streams if each[1].is_open]
                    self._streams.append((endpoint, connection))
                answer = connection.request("POST", path, headers, data, stream=True, read_s=_SILENCE_S)
            except OSError as error:
                last = error
                tries -= 1
                if connection is not None:
                    connection.close()
                self.leave(endpoint)
                continue
            if answer.status < 300:
                return answer
            connection.close()
            refused = refusal(answer.status, answer.body)
            if not (isinstance(refused, Unauthorized) and again):
                raise self._placed(refused)
            self._token, again = "", False
        raise self.unreachable(last)

    def ping(self, timeout_s: float) -> None:
        """Ends the streams from endpoints that say nothing while another one answers. Raises Unavailable."""
        silent: list[str] = []
        last: OSError | None = None
        for endpoint in list(self._endpoints):
            try:
                connection = self._connect(endpoint, timeout_s)
                try:
                    connection.request("GET", "/version", {})
                finally:
                    connection.close()
            except OSError as error:
                silent.append(endpoint)
                last = error
            else:
                self._desert(silent)
                return
        raise self.unreachable(last)

    def _desert(self, silent: Sequence[str]) -> None:
        with self._lock:
            self._endpoints.sort(key=lambda each: each in silent)
            hanging = [connection for endpoint, connection in self._streams if endpoint in silent]
        for connection in hanging:
            connection.end()

    def close(self) -> None:
        with self._lock:
            idle, self._idle = self._idle, []
        for _, connection in idle:
            connection.close()

    # ---- connections ----

    def _request(self, path: str, data: bytes) -> tuple[int, bytes]:
        headers = self._headers() if "authenticate" not in path else _JSON
        last: OSError | None = None
        tries = len(self._endpoints)
        while tries:
            with self._lock:
                endpoint, connection = self._idle.pop() if self._idle else (self.endpoint, None)
            kept = connection is not None
            try:
                connection = connection or self._connect(endpoint)
                status, answer = connection.post(path, data, headers)
            except OSError as error:
                last = error
                if connection is not None:
                    connection.close()
                # A kept connection may have been closed by the server; one that stays silent is a try.
                if not kept or isinstance(error, TimeoutError):
                    tries -= 1
                    self.leave(endpoint)
                continue
            self._keep(endpoint, connection)
            return status, answer
        raise self.unreachable(last)

    def _headers(self) -> dict[str, str]:
        if not self._user:
            return _JSON
        if not self._token:
            body = {"name": self._user, "password": self._password}
            status, answer = self._request("/v3/auth/authenticate", msgspec.json.encode(body))
            if status >= 300 and NO_AUTHENTICATION in (text := told(status, answer)[0]):
                # An etcd that asks nobody who he is; whoever has credentials is served as anybody.
                self._user = ""
                return _JSON
            if status >= 300:
                raise self._placed(Unauthorized(text))
            self._token = shapes.decode(answer, _Token).token
        return {**_JSON, "Authorization": self._token}

    def _connect(self, endpoint: str = "", read_s: float = 0.0) -> Connection:
        """To the endpoint in use, or to another. Raises OSError."""
        scheme, host, port = parts(endpoint or self.endpoint)
        tls = self._tls if scheme == "https" else None
        read_s = read_s or self._read_s
        return Connection(host, port, tls, connect_s=min(_CONNECT_S, read_s), read_s=read_s)

    def channel(self) -> Channel:
        """A new one to the endpoint in use. Raises OSError."""
        scheme, host, port = parts(self._endpoints[0])
        if scheme == "https" and self._tls_of_channels is None:
            self._tls_of_channels = tls_of(self._config)
            self._tls_of_channels.offer([b"h2"])
        tls = self._tls_of_channels if scheme == "https" else None
        return Channel(host, port, tls, connect_s=min(_CONNECT_S, self._read_s), read_s=self._read_s)

    def asked_ahead(self, begin: bytes, limit: int) -> Channel | None:
        return self._ahead.pop((begin, limit), None)

    def token(self) -> str:
        """Empty where no user is configured. Raises DatastoreError."""
        return self._headers().get("Authorization", "")

    @property
    def endpoints(self) -> int:
        """How many there are."""
        return len(self._endpoints)

    def _keep(self, endpoint: str, connection: Connection) -> None:
        with self._lock:
            if connection.reusable and len(self._idle) < _KEPT:
                self._idle.append((endpoint, connection))
                return
        connection.close()

    @property
    def endpoint(self) -> str:
        """The one in use."""
        return self._endpoints[0]

    def leave(self, endpoint: str) -> None:
        """The next one's turn, if it is not already."""
        with self._lock:
            if self._endpoints[0] == endpoint:
                self._endpoints.append(self._endpoints.pop(0))

    def _placed(self, error: DatastoreError) -> DatastoreError:
        """Credentials are looked for by where they were refused."""
        if isinstance(error, Unauthorized):
            return Unauthorized(f"{error.cause} (etcd at {self._endpoints[0]})")
        return error

    def unreachable(self, cause: BaseException | None) -> Unavailable:
        where = ",".join(self._endpoints)
        return Unavailable(f"cannot reach etcd at {where}: {getattr(cause, 'strerror', None) or cause}")


def _compare(key: str, revision: str | None) -> list[dict[str, Any]]:
    """``revision`` None: absent; "": no matter."""
    if revision is None:
        return [{"key": b64(key), "target": "VERSION", "result": "EQUAL", "version": "0"}]
    if revision:
        return [{"key": b64(key), "target": "MOD", "result": "EQUAL", "mod_revision": revision}]
    return []
