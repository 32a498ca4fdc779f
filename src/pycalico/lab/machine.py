"""A node as a container runtime has it: its files, and programs run in its namespaces."""

from __future__ import annotations

import subprocess
from pathlib import Path

from pycalico.lab import enter, plugins

_PATH = f"{plugins.BIN_DIRS}:{enter.environment()['PATH']}"


class Machine:
    """One node, by the pid of its first process."""

    def __init__(self, name: str, pid: int) -> None:
        self.name = name
        self.pid = pid

    def file(self, path: str) -> Path:
        """A path in the node's root. No part of it may be an absolute link (use /run, not /var/run)."""
        return Path(f"/proc/{self.pid}/root{path}")

    def run(
        self, argv: list[str], env: dict[str, str] | None = None, stdin: bytes = b"", timeout_s: float = 30.0
    ) -> subprocess.CompletedProcess[bytes]:
        """Raises subprocess.TimeoutExpired."""
        environ = {"PATH": _PATH, "HOME": "/root", **(env or {})}
        return subprocess.run(
            enter.command(self.pid, argv),
            input=stdin,
            env=environ,
            cwd="/",
            capture_output=True,
            timeout=timeout_s,
            check=False,
        )

    def run_plugin(
        self, argv: list[str], env: dict[str, str], stdin: bytes
    ) -> subprocess.CompletedProcess[bytes]:
        return self.run(argv, env, stdin, timeout_s=90.0)
