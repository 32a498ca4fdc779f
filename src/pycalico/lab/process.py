"""Processes remembered across programs: a pid together with its start time, since pids are used again."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path


def start_time(pid: int) -> str:
    """Clock ticks since boot (field 22 of /proc/PID/stat); empty when it has ended, reaped or not."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in "ZX" else fields[19]


def identity(pid: int) -> str:
    return f"{pid}:{start_time(pid)}"


def pid_of(mark: str) -> int | None:
    """The pid behind an ``identity`` if that very process still runs."""
    pid, _, started = mark.partition(":")
    if pid.isdigit() and started and start_time(int(pid)) == started:
        return int(pid)
    return None


def children(pid: int) -> list[int]:
    try:
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def end(mark: str, *, grace_s: float = 0.0) -> None:
    """SIGTERM, then SIGKILL after the grace; waits until it is gone (at most 5 s more)."""
    pid = pid_of(mark)
    if pid is None:
        return
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM if grace_s else signal.SIGKILL)
    deadline = time.monotonic() + grace_s
    while grace_s and pid_of(mark) and time.monotonic() < deadline:
        _reap(pid)
        time.sleep(0.02)
    with contextlib.suppress(ProcessLookupError):
        if pid_of(mark):
            os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + 5
    while pid_of(mark) and time.monotonic() < deadline:
        _reap(pid)
        time.sleep(0.01)


def _reap(pid: int) -> None:
    """A child of ours stays as a zombie until it is waited for."""
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)
