"""TLS of a client, on what the interpreter's ``ssl`` itself stands on.

``ssl`` makes classes of all constants of OpenSSL as it loads: 20 of the 210 million instructions of a plugin's ADD without
the agent, 4 of its 80 ms, and as much of a ``calicoctl get`` on Kubernetes (measured with callgrind). Here is what it does
for a client, with the same defaults: certificates and names are checked, nothing below TLS 1.2.
"""

from __future__ import annotations

import _ssl
import io
import os
import socket
from collections.abc import Sequence
from typing import Any, Final

#: Of certificates that do not fit, handshakes that fail, connections that break.
Error: Final = _ssl.SSLError

_CLIENT = 16
"""``PROTOCOL_TLS_CLIENT``: asks for a certificate of the name that was called."""
_TLS_1_2 = 0x303
_ANY_CERTIFICATE = 0


class Context:
    """Whom a client trusts: who signed ``ca`` (PEM), or is in the file ``ca_file``; without both, whom the machine does.

    ``insecure`` trusts everybody. Raises Error and OSError.
    """

    def __init__(self, *, ca: str = "", ca_file: str = "", insecure: bool = False) -> None:
        # The stubs of this module lack half of it.
        self._context: Any = _ssl._SSLContext(_CLIENT)  # noqa: SLF001 - its name
        self._context.minimum_version = _TLS_1_2
        if ca or ca_file:
            self._context.load_verify_locations(ca_file or None, None, ca or None)
        elif not insecure:
            self._context.set_default_verify_paths()
        if insecure:
            self._context.check_hostname = False
            self._context.verify_mode = _ANY_CERTIFICATE

    def show(self, certificate_file: str, key_file: str = "") -> None:
        """The client's own certificate; its key may be in the same file. Raises Error and OSError."""
        self._context.load_cert_chain(certificate_file, key_file or None)

    def show_text(self, certificate: bytes, key: bytes) -> None:
        """The same, of PEM that is in no file. Raises Error and OSError."""
        # The library reads files only; an anonymous one leaves nothing on disk.
        descriptor = os.memfd_create("client-certificate")
        try:
            os.write(descriptor, certificate + b"\n" + key)
            self.show(f"/proc/self/fd/{descriptor}")
        finally:
            os.close(descriptor)

    def offer(self, protocols: Sequence[bytes]) -> None:
        """What is to be spoken, the wished first (ALPN)."""
        self._context._set_alpn_protocols(  # noqa: SLF001 - its name
            b"".join(bytes([len(one)]) + one for one in protocols)
        )

    def wrapped(self, opened: socket.socket, server_name: str) -> Stream:
        """After the handshake, which has the timeout of the socket. Raises OSError (Error is one)."""
        name = server_name if server_name.isascii() else server_name.encode("idna").decode()
        session = self._context._wrap_socket(opened, False, name)  # noqa: SLF001 - its name
        session.do_handshake()
        return Stream(opened, session)


class Stream:
    """What is used of a ``socket.socket``, encrypted; each of its calls may raise OSError."""

    def __init__(self, opened: socket.socket, session: Any) -> None:
        self._socket, self._session = opened, session

    def settimeout(self, seconds: float | None) -> None:
        self._socket.settimeout(seconds)

    def fileno(self) -> int:
        return self._socket.fileno()

    def sendall(self, data: bytes) -> None:
        with memoryview(data) as rest:
            sent = 0
            while sent < len(rest):
                sent += self._session.write(rest[sent:])

    def recv(self, most: int) -> bytes:
        """Nothing, when the other side has ended it."""
        data = bytearray(most)
        return bytes(memoryview(data)[: self.recv_into(data)])

    def recv_into(self, buffer: Any) -> int:
        """How many bytes; none, when the other side has ended it."""
        try:
            length: int = self._session.read(len(buffer), buffer)
        except (_ssl.SSLZeroReturnError, _ssl.SSLEOFError):
            # Or ended without a word of TLS: answers tell their length, by which a cut one is known.
            return 0
        return length

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(_Raw(self))

    def shutdown(self, how: int) -> None:
        self._socket.shutdown(how)

    def close(self) -> None:
        self._socket.close()


class _Raw(io.RawIOBase):
    def __init__(self, stream: Stream) -> None:
        self._stream = stream

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        return self._stream.recv_into(buffer)
