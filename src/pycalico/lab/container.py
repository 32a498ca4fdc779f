"""Containers without images: a command in pid and mount namespaces of its own on a node's root."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from pathlib import Path

from pycalico.lab import enter, process
from pycalico.lab.machine import Machine

_SCRIPT = str(Path(__file__).with_name("container.sh"))


class Container:
    """A running command in pid and mount namespaces of its own, in the node or in a pod's network."""

    def __init__(
        self,
        machine: Machine,
        argv: list[str],
        env: dict[str, str],
        *,
        netns: str,
        hostname: str,
        workdir: str,
        secrets: str,
        log: str,
    ) -> None:
        spaces = ["unshare", "--mount", "--pid", "--fork", "--kill-child"]
        if hostname:
            spaces.append("--uts")
        script = ["sh", _SCRIPT, workdir, secrets, hostname]
        where = str(machine.file(netns)) if netns else ""
        self._machine = machine
        self._netns = netns
        with machine.file(log).open("ab") as output:
            self._process = subprocess.Popen(
                enter.command(machine.pid, [*spaces, *script, *argv], netns=where),
                env={"PATH": enter.environment()["PATH"], "HOME": "/root", **env},
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def exit_code(self) -> int | None:
        """None while it runs; 128 + signal when a signal ended it."""
        code = self._process.poll()
        return 128 - code if code is not None and code < 0 else code

    def first_pid(self) -> int | None:
        """The container's process 1, as this machine numbers it."""
        holders = process.children(self._process.pid)
        inner = process.children(holders[0]) if holders else []
        return inner[0] if inner else None

    def exec(self, argv: list[str], env: dict[str, str], timeout_s: float) -> tuple[int, str]:
        """Runs a probe's command in the container; (exit code, what it said)."""
        pid = self.first_pid()
        if pid is None:
            return 126, "not running"
        command = [
            "nsenter",
            f"--target={pid}",
            "--mount",
            "--uts",
            "--ipc",
            "--pid",
            "--net",
            "--wdns=/",
            "--",
        ]
        try:
            done = subprocess.run(
                [*command, *argv],
                env={"PATH": enter.environment()["PATH"], "HOME": "/root", **env},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=timeout_s,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return 124, f"no answer within {timeout_s:g} s"
        return done.returncode, (done.stdout + done.stderr).decode(errors="replace").strip()

    def stop(self, grace_s: float) -> None:
        """SIGTERM to every process, then SIGKILL.

        Process 1 is frozen meanwhile, so that a supervisor neither leaves before its services nor revives them: BIRD
        gets the time to say goodbye to its peers. A process 1 that does not handle SIGTERM would ignore it by the
        kernel's rule, so it is not waited for.
        """
        first = self.first_pid()
        if first is not None:
            deadline = time.monotonic() + grace_s
            others = [pid for pid in members(first) if pid != first]
            if others:
                _signal(first, signal.SIGSTOP)
                for pid in others:
                    _signal(pid, signal.SIGTERM)
                while time.monotonic() < deadline and any(map(_alive, others)):
                    time.sleep(0.02)
                _signal(first, signal.SIGCONT)
            if _handles_term(first):
                _signal(first, signal.SIGTERM)
                while time.monotonic() < deadline and _alive(first):
                    time.sleep(0.02)
            _signal(first, signal.SIGKILL)
        else:
            self._process.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=10)


def members(first: int) -> list[int]:
    """Every process in the pid namespace of ``first``."""
    try:
        mine = Path(f"/proc/{first}/ns/pid").stat().st_ino
    except OSError:
        return []
    found = []
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                if Path(f"/proc/{entry.name}/ns/pid").stat().st_ino == mine:
                    found.append(int(entry.name))
    return found


def _signal(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _handles_term(pid: int) -> bool:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return False
    caught = next((line.split()[1] for line in lines if line.startswith("SigCgt:")), "0")
    return bool(int(caught, 16) >> (signal.SIGTERM - 1) & 1)
