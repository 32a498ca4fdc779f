"""Felix's configuration file: INI as upstream's library reads it.

Sections are merged and may be missing; ``=`` or ``:`` parts name and value; ``#`` and ``;`` begin a comment, within
a value too unless it stands in quotes; a backslash at the end joins the next line.
"""

from __future__ import annotations

import re

_ASSIGNMENT = re.compile(r"([^=:]+?)\s*[=:]\s*(.*)")
_QUOTES = ('"""', '"', "'", "`")


def parse(text: str) -> dict[str, str]:
    """Names as they are written. Raises ValueError with the line that cannot be read."""
    found: dict[str, str] = {}
    lines = iter(text.removeprefix("\ufeff").splitlines())
    for raw in lines:
        line = raw.strip()
        if not line or line[0] in "#;":
            continue
        if line[0] == "[":
            if "]" not in line:
                raise ValueError(f"unclosed section: {line}")
            continue
        match = _ASSIGNMENT.fullmatch(line)
        if not match:
            raise ValueError(f"key-value delimiter not found: {line}")
        value = match[2]
        while value.endswith("\\"):
            value = value[:-1] + next(lines, "").strip()
        found[match[1]] = _bare(value)
    return found


def _bare(value: str) -> str:
    for quote in _QUOTES:
        if len(value) >= 2 * len(quote) and value.startswith(quote) and value.endswith(quote):
            return value[len(quote) : -len(quote)]
    return re.split("[#;]", value, maxsplit=1)[0].strip()
