"""Parsing of HTTP/1.1 requests, strict and bounded, without I/O."""

from __future__ import annotations

from typing import Final
from urllib.parse import parse_qsl, unquote

MAX_BODY: Final = 3 * 1024 * 1024  # what a kube-apiserver accepts


class Request:
    """A parsed request; ``user`` is filled in by authentication, ``peer`` is the client certificate."""

    __slots__ = ("body", "headers", "method", "path", "peer", "query", "user")

    def __init__(self, method: str, path: str, query: dict[str, str], headers: dict[str, str]) -> None:
        self.method = method
        self.path = path
        self.query = query
        self.headers = headers
        self.body = b""
        self.peer: dict[str, object] | None = None
        self.user = ""


class BadRequest(Exception):
    """Not a request this server reads; ``status`` is the HTTP code to refuse it with."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text


def parse_head(head: bytes) -> Request:
    lines = head.decode("latin-1").split("\r\n")
    parts = lines[0].split(" ")
    if len(parts) != 3 or not parts[2].startswith("HTTP/1.") or not parts[1].startswith("/"):
        raise BadRequest(400, "not an HTTP/1.1 request")
    headers: dict[str, str] = {}
    for line in lines[1:]:
        name, colon, value = line.partition(":")
        if not colon or not name or name != name.strip():
            raise BadRequest(400, "malformed header line")
        name = name.lower()
        value = value.strip()
        headers[name] = f"{headers[name]},{value}" if name in headers else value
    if parts[2] == "HTTP/1.0":
        headers["connection"] = "close"
    path, _, query = parts[1].partition("?")
    if "%" in path:
        path = unquote(path)
    pairs = dict(parse_qsl(query, keep_blank_values=True)) if query else {}
    return Request(parts[0], path, pairs, headers)


def body_length(request: Request) -> int:
    if "transfer-encoding" in request.headers:
        if request.headers["transfer-encoding"].lower() != "chunked" or "content-length" in request.headers:
            raise BadRequest(400, "this transfer encoding is not understood")
        return -1
    text = request.headers.get("content-length", "0")
    if not text.isascii() or not text.isdigit():
        raise BadRequest(400, "malformed Content-Length")
    if len(text) > 12 or int(text) > MAX_BODY:
        raise BadRequest(413, f"request body is larger than {MAX_BODY} bytes")
    return int(text)


def dechunk(buffer: bytearray) -> tuple[bytes, int] | None:
    """The whole chunked body and how many bytes it took, or None while it is incomplete."""
    at = 0
    body = bytearray()
    while True:
        line_end = buffer.find(b"\r\n", at)
        if line_end < 0:
            return None
        try:
            size = int(bytes(buffer[at:line_end]).split(b";")[0], 16)
        except ValueError:
            raise BadRequest(400, "malformed chunk") from None
        if size < 0 or len(body) + size > MAX_BODY:
            raise BadRequest(413, f"request body is larger than {MAX_BODY} bytes")
        at = line_end + 2
        if size == 0:
            end = buffer.find(b"\r\n", at)
            while end > at:  # trailers
                at = end + 2
                end = buffer.find(b"\r\n", at)
            return None if end < 0 else (bytes(body), end + 2)
        if len(buffer) < at + size + 2:
            return None
        body += buffer[at : at + size]
        at += size + 2
