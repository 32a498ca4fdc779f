"""Log lines in the form operators of Calico know.

``2026-11-23 05:33:13.520 [INFO][11659] felix/engine.py 54: message key="value"``: local time with
milliseconds, level, pid, component and source line, message, then fields sorted by key (the form of
upstream's logger, observed). Pass fields with ``extra={"fields": {...}}`` or plain ``log.info("...", x)``.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Mapping
from typing import TextIO

#: Names of levels, as upstream's parameters spell them, to the library's.
LEVELS: Mapping[str, int] = {
    "trace": logging.DEBUG,
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warn": logging.WARNING,
    "warning": logging.WARNING,
    "error": logging.ERROR,
    "fatal": logging.CRITICAL,
    "panic": logging.CRITICAL,
    "none": logging.CRITICAL + 10,
}
_LABELS = {logging.WARNING: "WARNING", logging.CRITICAL: "FATAL"}
#: Control characters from users' names must not forge or hide lines.
_UNSAFE = {code: f"\\x{code:02x}" for code in (*range(0x20), 0x7F, *range(0x80, 0xA0)) if code != 0x09}
_UNSAFE[0x0A] = "\\n"
_UNSAFE[0x0D] = "\\r"


class LineFormatter(logging.Formatter):
    """``component`` (felix, confd, ...) stands before the file name, as in the node's mixed log."""

    def __init__(self, component: str) -> None:
        super().__init__()
        self._prefix = f"{component}/" if component else ""

    def format(self, record: logging.LogRecord) -> str:
        stamp = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(record.created))
        level = _LABELS.get(record.levelno, record.levelname)
        where = f"{self._prefix}{record.filename} {record.lineno}"
        text = record.getMessage().translate(_UNSAFE)
        fields = getattr(record, "fields", None)
        if fields:
            text += "".join(f" {key}={_value(fields[key])}" for key in sorted(fields))
        if record.exc_info and record.exc_info[1] is not None:
            error = record.exc_info[1]
            text += f" error={type(error).__name__}: {error}".translate(_UNSAFE)
        line = f"{stamp}.{int(record.msecs):03d} [{level}][{record.process}] {where}: {text}"
        if record.exc_info and record.levelno <= logging.DEBUG:
            line += "\n" + self.formatException(record.exc_info)
        return line


def _value(value: object) -> str:
    if isinstance(value, str):
        return '"' + value.translate(_UNSAFE).replace('"', '\\"') + '"'
    return str(value).translate(_UNSAFE)


def configure(component: str, level: str = "info", stream: TextIO | None = None) -> None:
    """Sends this process's log to ``stream`` (stdout when None) at ``level`` (a name in LEVELS, any case)."""
    handler = logging.StreamHandler(stream or sys.stdout)
    handler.setFormatter(LineFormatter(component))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(LEVELS.get(level.lower(), logging.INFO))
    for chatty in ("asyncio", "pyroute2", "uvicorn"):
        logging.getLogger(chatty).setLevel(max(root.level, logging.WARNING))
