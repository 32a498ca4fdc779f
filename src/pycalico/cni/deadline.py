"""An end to waiting, whatever it is that hangs: runtimes wait for plugins, and some of them for ever."""

from __future__ import annotations

import _signal  # type: ignore[import-not-found] # signal makes classes of all signals as it loads: 0.5 ms of a call
import threading
from collections.abc import Callable

from pycalico.cni.errors import TRY_AGAIN, CNIError


def within(seconds: float, work: Callable[[], None], what: str) -> None:
    """Runs ``work`` in a thread of its own; what hangs there is left behind. Raises what it raises, and CNIError."""
    failures: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - raised in the caller's thread
            failures.append(error)

    thread = threading.Thread(target=run, name=what, daemon=True)
    thread.start()
    thread.join(seconds)
    if failures:
        raise failures[0]
    if thread.is_alive():
        raise CNIError(f"{what} took longer than {seconds:g} s", TRY_AGAIN)


def of_process(seconds: int) -> None:
    """From then on the main thread is interrupted by a CNIError."""

    def ring(*_: object) -> None:
        raise CNIError(f"the call took longer than {seconds} s", TRY_AGAIN)

    _signal.signal(_signal.SIGALRM, ring)
    _signal.alarm(seconds)
