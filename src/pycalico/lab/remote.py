"""Running a command through the agent of a User-Mode Linux kernel, as if it ran here."""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import socket
import struct
import sys
import termios
import threading
import tty
from collections.abc import Iterator
from dataclasses import dataclass, replace

from pycalico.lab import frames
from pycalico.lab.uml import Uml

_CHUNK = 65536
#: What a shell gives a command that was ended by SIGHUP's cousin, a lost connection.
_LOST = 255


def attach(uml: Uml, request: frames.Request) -> int:
    """Joins the command to this program's own input, output and errors; returns its exit code."""
    interactive = sys.stdin.isatty() and sys.stdout.isatty()
    if interactive:
        size = shutil.get_terminal_size()
        request = replace(request, terminal=(size.lines, size.columns))
    connection = uml.open(request)
    with connection, _raw() if interactive else contextlib.nullcontext():
        threading.Thread(target=_feed, args=(connection, interactive), daemon=True).start()
        before = signal.signal(
            signal.SIGINT, lambda *_: frames.send(connection, frames.SIGNAL, b"%d" % signal.SIGINT)
        )
        try:
            return _relay(connection, sys.stdout.fileno(), sys.stderr.fileno())
        finally:
            signal.signal(signal.SIGINT, before)


@dataclass
class Finished:
    code: int
    output: str
    errors: str


def collect(
    uml: Uml, request: frames.Request, stdin: bytes = b"", timeout_s: float | None = None
) -> Finished:
    """Runs to the end and returns everything. Raises TimeoutError."""
    output, errors = bytearray(), bytearray()
    with uml.open(request) as connection:
        connection.settimeout(timeout_s)
        for start in range(0, len(stdin), _CHUNK):
            frames.send(connection, frames.INPUT, stdin[start : start + _CHUNK])
        frames.send(connection, frames.INPUT)
        code = _LOST
        while frame := frames.receive(connection):
            kind, data = frame
            if kind == frames.EXIT:
                code = int(data)
                break
            (output if kind == frames.OUTPUT else errors).extend(data)
    return Finished(code, output.decode(errors="replace"), errors.decode(errors="replace"))


def _relay(connection: socket.socket, output: int, errors: int) -> int:
    while frame := frames.receive(connection):
        kind, data = frame
        if kind == frames.EXIT:
            code = int(data)
            return code if code >= 0 else 128 - code
        _write(output if kind == frames.OUTPUT else errors, data)
    return _LOST


def _write(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]


def _feed(connection: socket.socket, interactive: bool) -> None:
    with contextlib.suppress(OSError):
        size = shutil.get_terminal_size()
        while True:
            ready, _, _ = select.select([sys.stdin.fileno()], [], [], 0.5)
            if interactive and shutil.get_terminal_size() != size:
                size = shutil.get_terminal_size()
                frames.send(connection, frames.WINDOW, struct.pack(">HH", size.lines, size.columns))
            if ready:
                data = os.read(sys.stdin.fileno(), _CHUNK)
                frames.send(connection, frames.INPUT, data)
                if not data:
                    return


@contextlib.contextmanager
def _raw() -> Iterator[None]:
    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    try:
        tty.setraw(descriptor)
        yield
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)
