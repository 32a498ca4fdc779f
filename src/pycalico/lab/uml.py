"""Debian's User-Mode Linux: a second kernel as an ordinary process, with ipip where the machine's has none.

Its root is the machine's own file system under an overlay in memory (see guest.sh), so programs and libraries are
shared and nothing written inside reaches the machine. Memory is a sparse file. The kernel's interface ``vec0`` is a
raw socket on one end of a veth pair in a network namespace without a name, in which also its processes live; the
agent listens there. Ending the first process of that pid namespace ends everything.
Kernel parameters: ``linux.uml --help``. One CPU; programs run about ten times slower than outside.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

from pycalico.lab import frames, process
from pycalico.lab.errors import LabError
from pycalico.lab.namespaces import inside_network

_KERNEL = "linux.uml"
_MODULES = Path("/usr/lib/uml/modules")
_OUTSIDE, _INSIDE, _PREFIX = "169.254.201.1", "169.254.201.2", 30
_PORT = 7
_BOOT_S = 60.0
_LOOK_S = 0.2
_PANIC = "Kernel panic"
#: It keeps 2.7 kB of registers for a process; where there are more, as with Intel's AMX, the first program ends it.
_TOO_MANY_REGISTERS = "ptrace set fp regs failed"
UNFIT = "User-Mode Linux has no room for this processor's registers (AMX): use the machine's kernel, without KERNEL=uml"

_LINKS = f"""\
link set lo up
link add outside type veth peer name inside
address add {_OUTSIDE}/{_PREFIX} dev outside
link set outside up
link set inside up
"""

#: Through a raw socket an offloaded checksum would stay unfinished.
_LAUNCH = """\
printf %s "$LINKS" | ip -batch - || exit 1
for end in outside inside; do ethtool -K $end tx off gro off >/dev/null || exit 1; done
exec "$@"
"""


class Uml:
    """One User-Mode Linux kernel whose files are in ``directory`` (``console.log``, ``pid``)."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def boot(self, *, memory_mb: int = 3072) -> None:
        """Starts the kernel and waits for its agent. Raises LabError, with nothing left running."""
        kernel = shutil.which(_KERNEL)
        if kernel is None or not _MODULES.is_dir():
            raise LabError(f"{_KERNEL} is not installed: run 'apt-get install user-mode-linux' as root")
        self.directory.mkdir(parents=True, exist_ok=True)
        argv = [
            *("unshare", "--net", "--pid", "--fork", "--kill-child", "sh", "-c", _LAUNCH, "launch"),
            kernel,
            f"mem={memory_mb}M",
            "rootfstype=hostfs",
            "rootflags=/",
            "ro",
            f"init={Path(__file__).with_name('guest.sh')}",
            "vec0:transport=raw,ifname=inside",
            f"uml_dir={self.directory}",
            "umid=kernel",
            "con=null",
            "con0=fd:0,fd:1",
            "quiet",
            f"LAB_PYTHON={sys.executable}",
            f"LAB_ADDRESS={_INSIDE}/{_PREFIX}",
            f"LAB_PORT={_PORT}",
        ]
        with (self.directory / "console.log").open("wb") as console:
            started = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                env={**os.environ, "LINKS": _LINKS, "TMPDIR": _memory_directory(self.directory, memory_mb)},
                cwd="/",
                start_new_session=True,
            )
        (self.directory / "pid").write_text(process.identity(started.pid))
        deadline = time.monotonic() + _BOOT_S
        while True:
            try:
                self._connect(timeout_s=1.0).close()
                return
            except OSError:
                said = (self.directory / "console.log").read_text(errors="replace")
                if started.poll() is not None or _PANIC in said or time.monotonic() > deadline:
                    self.stop()
                    raise LabError(
                        UNFIT
                        if _TOO_MANY_REGISTERS in said
                        else f"the User-Mode Linux kernel did not start: {_last_words(said)}"
                    ) from None
                time.sleep(0.1)

    def pid(self) -> int | None:
        """The process whose end is the kernel's end; None when it does not run."""
        try:
            return process.pid_of((self.directory / "pid").read_text())
        except OSError:
            return None

    def stop(self) -> None:
        """Ends the kernel at once: its root is in memory, so there is nothing to save."""
        pid = self.pid()
        if pid is not None:
            inner = [process.identity(child) for child in process.children(pid)]
            process.end(process.identity(pid))
            for mark in inner:
                process.end(mark)
        shutil.rmtree(self.directory, ignore_errors=True)

    def open(self, request: frames.Request) -> socket.socket:
        """A connection on which ``request`` has been sent. Raises LabError when the kernel does not answer."""
        try:
            connection = self._connect(timeout_s=10.0)
        except OSError as error:
            raise LabError(
                f"the User-Mode Linux kernel does not answer: {error.strerror or error}"
            ) from error
        connection.settimeout(None)
        threading.Thread(target=self._watch, args=(connection,), daemon=True).start()
        frames.send(connection, frames.REQUEST, request.encode())
        return connection

    def _watch(self, connection: socket.socket) -> None:
        """A kernel that is gone sends no farewell: its end is the connection's."""
        while connection.fileno() >= 0:
            if self.pid() is None:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
                return
            time.sleep(_LOOK_S)

    def _connect(self, *, timeout_s: float) -> socket.socket:
        pid = self.pid()
        inner = process.children(pid) if pid is not None else []
        if not inner:
            raise ConnectionRefusedError("not running")
        with inside_network(f"/proc/{inner[0]}/ns/net"):
            connection = socket.create_connection((_INSIDE, _PORT), timeout=timeout_s)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection


def _last_words(said: str) -> str:
    return next((line.strip() for line in reversed(said.split("\n")) if line.strip()), "it said nothing")


def _memory_directory(fallback: Path, memory_mb: int) -> str:
    """Where the file that is the kernel's memory goes: shared memory if it is large enough, as in few containers."""
    shared = "/dev/shm"  # noqa: S108 - the system's, the file in it has no name
    try:
        room = os.statvfs(shared)
    except OSError:
        return str(fallback)
    return shared if room.f_bavail * room.f_frsize >= memory_mb << 20 else str(fallback)
