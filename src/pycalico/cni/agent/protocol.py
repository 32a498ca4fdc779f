"""How launcher and agent talk.

Request: a line ``cni 1 VERSION PLUGIN ENVIRONMENT STDIN`` where the last two are lengths in bytes, then the ``CNI_*``
variables as ``NAME=value`` ended by NUL each, then stdin. The descriptor of the pod's network namespace comes along
(SCM_RIGHTS) where it could be opened: the agent need not see the path. Answer: a line ``CODE OUTPUT REMARK``, then
stdout and stderr. Code 255 means that the launcher has to do the call itself. The launcher speaks this without
importing anything; a test holds the two together.
"""

from __future__ import annotations

import os
import socket
import time

import msgspec

NAME = b"cni 1"
SOCKET = "/var/run/calico/cni-agent.sock"
#: The agent is of another version than the launcher, or cannot answer this call.
DECLINED = 255
MOST_BYTES = 16 << 20
_LINE_MOST = 200


class Malformed(Exception):
    """The peer does not speak this protocol."""


class Request(msgspec.Struct, frozen=True):
    version: str
    plugin: str
    environ: dict[str, str]
    given: bytes
    netns: int | None = None


def receive(connection: socket.socket, limit_s: float) -> Request:
    """The whole request within ``limit_s``. Raises Malformed, OSError. The caller owns the descriptor ``netns``."""
    deadline_s = time.monotonic() + limit_s
    connection.settimeout(limit_s)
    data, descriptors, _, _ = socket.recv_fds(connection, 1 << 16, 1)
    try:
        request = _request(connection, bytearray(data), deadline_s)
    except BaseException:
        for descriptor in descriptors:
            os.close(descriptor)
        raise
    return msgspec.structs.replace(request, netns=descriptors[0] if descriptors else None)


def _request(connection: socket.socket, buffer: bytearray, deadline_s: float) -> Request:
    while b"\n" not in buffer and len(buffer) < _LINE_MOST:
        _more(connection, buffer, deadline_s)
    line, _, _ = bytes(buffer[:_LINE_MOST]).partition(b"\n")
    words = line.split()
    try:
        if b" ".join(words[:2]) != NAME or len(words) != 6:
            raise Malformed(f"not a call: {line[:40]!r}")
        sizes = int(words[4]), int(words[5])
    except ValueError:
        raise Malformed(f"not a call: {line[:40]!r}") from None
    start = len(line) + 1
    if sum(sizes) > MOST_BYTES:
        raise Malformed(f"a call of {sum(sizes)} bytes")
    while len(buffer) < start + sum(sizes):
        _more(connection, buffer, deadline_s)
    middle = start + sizes[0]
    environ = {}
    for item in bytes(buffer[start:middle]).split(b"\0"):
        name, mark, value = item.partition(b"=")
        if mark:
            environ[name.decode(errors="surrogateescape")] = value.decode(errors="surrogateescape")
    given = bytes(buffer[middle : middle + sizes[1]])
    return Request(words[2].decode(), words[3].decode(), environ, given)


def _more(connection: socket.socket, buffer: bytearray, deadline_s: float) -> None:
    left_s = deadline_s - time.monotonic()
    if left_s <= 0:
        raise Malformed("the call did not come to its end")
    connection.settimeout(left_s)
    data = connection.recv(1 << 16)
    if not data:
        raise Malformed("the call ended early")
    buffer += data


def answer(connection: socket.socket, code: int, output: bytes = b"", remark: bytes = b"") -> None:
    connection.sendall(b"%d %d %d\n" % (code, len(output), len(remark)) + output + remark)
