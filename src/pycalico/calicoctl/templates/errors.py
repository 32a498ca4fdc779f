"""What is wrong with a template, in Go's words."""

from __future__ import annotations

NAME = "get"


class TemplateError(Exception):
    """``written`` is the output up to the fault."""

    def __init__(self, message: str, written: str = "") -> None:
        super().__init__(message)
        self.written = written


def at_line(line: int, what: str) -> TemplateError:
    """A fault found while parsing."""
    return TemplateError(f"template: {NAME}:{line}: {what}")
