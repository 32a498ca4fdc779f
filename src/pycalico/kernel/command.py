"""Runs the kernel's command-line tools."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Callable, Sequence

import msgspec

from pycalico.base.distribution import Distribution


class CommandError(Exception):
    """A command was absent, hung or refused; the message is one line."""


class Result(msgspec.Struct, frozen=True):
    code: int
    out: str
    err: str
    took_s: float


class Tally(msgspec.Struct):
    """How often a program was run, how often in vain, and for how long in all."""

    calls: int = 0
    errors: int = 0
    seconds: float = 0.0


#: Of each program since the start, by its name.
TALLIES: dict[str, Tally] = {}
#: Seconds that runs took, of whatever program.
TIMES = Distribution()
_tally_lock = threading.Lock()


def _count(program: str, started: float, *, failed: bool) -> None:
    with _tally_lock:
        tally = TALLIES.setdefault(program, Tally())
        tally.calls += 1
        tally.errors += failed
        took_s = time.monotonic() - started
        tally.seconds += took_s
        TIMES.add(took_s)


def run(
    argv: Sequence[str],
    given: str = "",
    timeout_s: float = 60.0,
    on_start: Callable[[int], None] | None = None,
) -> Result:
    """Whatever the exit code. Raises CommandError when it cannot be started or takes longer than ``timeout_s``.

    ``on_start`` is told the process number before the program has read what is ``given``.
    """
    started = time.monotonic()
    failed = True
    try:
        pipe = subprocess.PIPE
        with subprocess.Popen(argv, stdin=pipe, stdout=pipe, stderr=pipe) as process:
            if on_start:
                on_start(process.pid)
            try:
                out, err = process.communicate(given.encode(), timeout_s)
            except BaseException:
                process.kill()
                raise
    except FileNotFoundError:
        raise CommandError(f"{argv[0]} is not installed or not in PATH") from None
    except OSError as error:
        raise CommandError(f"{argv[0]}: {error.strerror}") from None
    except subprocess.TimeoutExpired:
        raise CommandError(f"{argv[0]} did not finish within {timeout_s:g} s") from None
    else:
        failed = bool(process.returncode)
    finally:
        _count(argv[0], started, failed=failed)
    took_s = time.monotonic() - started
    return Result(process.returncode, out.decode(errors="replace"), err.decode(errors="replace"), took_s)


def check(argv: Sequence[str], given: str = "", timeout_s: float = 60.0) -> Result:
    """Like `run`, but a non-zero exit code raises CommandError with the last line the command wrote."""
    done = run(argv, given, timeout_s)
    if done.code:
        raise CommandError(f"{' '.join(argv)} failed ({done.code}): {last_line(done.err or done.out)}")
    return done


def last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:300] if lines else "no message"
