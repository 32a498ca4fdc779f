"""The wire between ``pycalico lab exec`` and the agent inside a User-Mode Linux kernel.

A frame is one letter, a four-byte big-endian length and that many bytes. The client opens with a request frame,
then sends input; the agent answers with output and ends with the exit code.
"""

from __future__ import annotations

import json
import socket
import struct
from dataclasses import asdict, dataclass, field

REQUEST = b"R"
INPUT = b"I"  # empty: end of input
SIGNAL = b"S"  # decimal signal number, for the process group
WINDOW = b"W"  # rows, columns: two 16-bit numbers
OUTPUT = b"O"
ERRORS = b"E"
EXIT = b"X"  # decimal exit code

_HEAD = struct.Struct(">cI")
#: More than any frame of ours; a longer one is not our peer speaking.
_LIMIT = 1 << 20


@dataclass
class Request:
    """``node`` is empty for the kernel's own namespaces. ``terminal`` is rows and columns, or None."""

    argv: list[str]
    state_dir: str = ""
    node: str = ""
    env: dict[str, str] = field(default_factory=dict)
    terminal: tuple[int, int] | None = None

    def encode(self) -> bytes:
        return json.dumps(asdict(self)).encode()

    @classmethod
    def decode(cls, data: bytes) -> Request:
        return cls(**json.loads(data))


def send(connection: socket.socket, kind: bytes, data: bytes = b"") -> None:
    connection.sendall(_HEAD.pack(kind, len(data)) + data)


def receive(connection: socket.socket) -> tuple[bytes, bytes] | None:
    """The next frame, or None when the peer has closed. Raises ConnectionError on a torn or oversized one."""
    head = _exactly(connection, _HEAD.size)
    if head is None:
        return None
    kind, length = _HEAD.unpack(head)
    if length > _LIMIT:
        raise ConnectionError(f"frame of {length} bytes")
    data = _exactly(connection, length)
    if data is None:
        raise ConnectionError("frame cut short")
    return kind, data


def _exactly(connection: socket.socket, size: int) -> bytes | None:
    parts = bytearray()
    while len(parts) < size:
        part = connection.recv(size - len(parts))
        if not part:
            if parts:
                raise ConnectionError("frame cut short")
            return None
        parts += part
    return bytes(parts)
