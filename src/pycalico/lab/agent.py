"""Runs commands inside a User-Mode Linux kernel for ``pycalico lab exec`` on the machine outside.

Listens on the kernel's only network interface, which nobody but the machine's root reaches: its other end is in a
network namespace without a name. A thread per connection; the command gets pipes, or a terminal when asked.
``halt`` as a node-less command of one word stops the kernel.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import signal
import socket
import struct
import subprocess
import sys
import termios
import threading
from pathlib import Path

from pycalico.lab import enter, frames

_CHUNK = 65536


def main() -> None:
    address, port = sys.argv[1], int(sys.argv[2])
    server = socket.create_server((address, port))
    # Background services of a node must not die with the command that happened to start them.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    while True:
        connection, _ = server.accept()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        first = frames.receive(connection)
        if first is None or first[0] != frames.REQUEST:
            connection.close()
            continue
        request = frames.Request.decode(first[1])
        if request.argv == ["halt"] and not request.node:
            return
        threading.Thread(target=_serve, args=(connection, request), daemon=True).start()


def _serve(connection: socket.socket, request: frames.Request) -> None:
    with connection, contextlib.suppress(ConnectionError, BrokenPipeError):
        try:
            argv = request.argv
            if request.node:
                argv = enter.command(enter.node_pid(Path(request.state_dir), request.node), argv)
            code = _Session(connection, argv, enter.environment(request.env), request.terminal).run()
        except (enter.NoSuchNode, OSError) as error:
            frames.send(connection, frames.ERRORS, f"lab: {error}\n".encode())
            code = 127
        frames.send(connection, frames.EXIT, str(code).encode())


class _Session:
    """One command and its connection."""

    def __init__(
        self,
        connection: socket.socket,
        argv: list[str],
        env: dict[str, str],
        terminal: tuple[int, int] | None,
    ) -> None:
        self._connection = connection
        self._sending = threading.Lock()
        self._terminal = -1
        if terminal is None:
            self._process = subprocess.Popen(
                argv,
                env=env,
                cwd="/",
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
            )
        else:
            self._terminal, slave = pty.openpty()
            self._resize(*terminal)
            # setsid --ctty makes the new terminal the command's own, so that Ctrl-C reaches it.
            self._process = subprocess.Popen(
                ["setsid", "--ctty", "--wait", *argv],
                env=env,
                cwd="/",
                stdin=slave,
                stdout=slave,
                stderr=slave,
            )
            os.close(slave)

    def run(self) -> int:
        threading.Thread(target=self._input, daemon=True).start()
        if self._terminal >= 0:
            self._pump(self._terminal, frames.OUTPUT)
            return self._process.wait()
        output, complaints = self._process.stdout, self._process.stderr
        if output is None or complaints is None:
            raise OSError("the command has no pipes")
        errors = threading.Thread(target=self._pump, args=(complaints.fileno(), frames.ERRORS), daemon=True)
        errors.start()
        self._pump(output.fileno(), frames.OUTPUT)
        code = self._process.wait()
        # A service started in the background may hold stderr open; the command itself is over.
        errors.join(timeout=1)
        return code

    def _pump(self, descriptor: int, kind: bytes) -> None:
        with contextlib.suppress(OSError):  # a terminal whose last user is gone reads as EIO
            while data := os.read(descriptor, _CHUNK):
                with self._sending:
                    frames.send(self._connection, kind, data)

    def _input(self) -> None:
        """Input, signals and window sizes; when the client goes away the command is ended."""
        try:
            while frame := frames.receive(self._connection):
                self._one(*frame)
        except OSError:
            pass
        if self._process.poll() is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGTERM)

    def _one(self, kind: bytes, data: bytes) -> None:
        if kind == frames.SIGNAL:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, int(data))
        elif kind == frames.WINDOW and self._terminal >= 0:
            self._resize(*struct.unpack(">HH", data))
        elif kind == frames.INPUT and self._terminal >= 0:
            os.write(self._terminal, data or b"\x04")
        elif kind == frames.INPUT and self._process.stdin is not None:
            with contextlib.suppress(BrokenPipeError, ValueError):
                if data:
                    self._process.stdin.write(data)
                    self._process.stdin.flush()
                else:
                    self._process.stdin.close()

    def _resize(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self._terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


if __name__ == "__main__":
    main()
