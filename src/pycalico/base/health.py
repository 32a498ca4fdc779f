"""Whether a process is alive and ready, as its parts report it, and the HTTP answers to who asks.

The answers are upstream's: 200 or 503 with a table of the parts, 204 when there is nothing to say.
"""

from __future__ import annotations

import threading
import time

from pycalico.base import http

_HEADINGS = ("COMPONENT", "TIMEOUT", "LIVENESS", "READINESS", "DETAIL")


class Reporter:
    """One part. A report older than ``timeout_s`` (0: never) counts as a failure of both kinds."""

    def __init__(self, name: str, *, live: bool, ready: bool, timeout_s: float) -> None:
        self.name = name
        self.reports_live, self.reports_ready = live, ready
        self.timeout_s = timeout_s
        self.live, self.ready, self.detail = True, False, ""
        self.reported_s = time.monotonic()

    def timed_out(self) -> bool:
        return bool(self.timeout_s) and time.monotonic() - self.reported_s > self.timeout_s


class Health:
    """The parts of one process. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._reporters: dict[str, Reporter] = {}

    def register(self, name: str, *, live: bool = True, ready: bool = True, timeout_s: float = 0.0) -> None:
        with self._lock:
            self._reporters[name] = Reporter(name, live=live, ready=ready, timeout_s=timeout_s)

    def report(self, name: str, *, live: bool = True, ready: bool = True, detail: str = "") -> None:
        with self._lock:
            reporter = self._reporters[name]
            reporter.live, reporter.ready, reporter.detail = live, ready, detail
            reporter.reported_s = time.monotonic()

    def is_live(self) -> bool:
        with self._lock:
            return all(r.live and not r.timed_out() for r in self._reporters.values() if r.reports_live)

    def is_ready(self) -> bool:
        with self._lock:
            return all(r.ready and not r.timed_out() for r in self._reporters.values() if r.reports_ready)

    def table(self) -> str:
        with self._lock:
            rows = [_row(reporter) for _, reporter in sorted(self._reporters.items())]
        if not rows:
            return ""
        widths = [max(len(row[column]) for row in (_HEADINGS, *rows)) for column in range(len(_HEADINGS))]
        rule = "+" + "+".join("-" * (width + 2) for width in widths) + "+"
        lines = [rule, _line([heading.center(w) for heading, w in zip(_HEADINGS, widths, strict=True)]), rule]
        lines += [_line([cell.ljust(w) for cell, w in zip(row, widths, strict=True)]) for row in rows]
        return "\n".join([*lines, rule]) + "\n"


def _row(reporter: Reporter) -> tuple[str, ...]:
    def cell(reports: bool, good: bool, word: str) -> str:
        if not reports:
            return "-"
        if reporter.timed_out():
            return "timed out"
        return f"reporting {word}" if good else f"reporting non-{word}"

    return (
        reporter.name,
        f"{reporter.timeout_s:g}s" if reporter.timeout_s else "-",
        cell(reporter.reports_live, reporter.live, "live"),
        cell(reporter.reports_ready, reporter.ready, "ready"),
        reporter.detail,
    )


def _line(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def serve(health: Health, host: str, port: int) -> http.Server:
    """Answers ``/liveness`` and ``/readiness``. Raises OSError when the port cannot be had."""
    checks = {"/liveness": health.is_live, "/readiness": health.is_ready}

    def answer(path: str) -> http.Answer:
        check = checks.get(path)
        if check is None:
            return http.NOT_FOUND
        body = health.table().encode()
        good = check()
        return http.Answer((200 if body else 204) if good else 503, body, "text/plain")

    return http.Server(host, port, answer, "health")
