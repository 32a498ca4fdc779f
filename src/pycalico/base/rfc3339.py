"""Times as Kubernetes' objects carry them, and Go's words for a text that is none."""

from __future__ import annotations

import calendar
import re

_LAYOUT = "2006-01-02T15:04:05Z07:00"
#: What has to come next, as Go's layout has it, and its form. A second may have a fraction.
_PARTS = (
    ("2006", r"(\d{4})"), ("-", "-"), ("01", r"(\d\d)"), ("-", "-"), ("02", r"(\d\d)"), ("T", "T"),
    ("15", r"(\d\d)"), (":", ":"), ("04", r"(\d\d)"), (":", ":"), ("05", r"(\d\d)(?:[.,]\d+)?"),
    ("Z07:00", r"(Z|[-+]\d\d:\d\d)"),
)  # fmt: skip
_LIMITS = {"01": ("month", 1, 12), "15": ("hour", 0, 23), "04": ("minute", 0, 59), "05": ("second", 0, 59)}


class TimeError(ValueError):
    """The text is no time; the message is Go's."""


def check(text: str) -> None:
    """Raises TimeError."""
    found: dict[str, int] = {}
    position = 0
    for element, form in _PARTS:
        match = re.compile(form, re.ASCII).match(text, position)
        if match is None:
            raise TimeError(
                f'parsing time "{text}" as "{_LAYOUT}": cannot parse "{text[position:]}" as "{element}"'
            )
        if match.re.groups and element != "Z07:00":
            found[element] = int(match[1])
        name, least, most = _LIMITS.get(element, ("", 0, 0))
        if name and not least <= found[element] <= most:
            raise TimeError(f'parsing time "{text}": {name} out of range')
        position = match.end()
    if position < len(text):
        raise TimeError(f'parsing time "{text}": extra text: "{text[position:]}"')
    # Year 0 is a leap year, and unknown to the calendar.
    if not 1 <= found["02"] <= calendar.monthrange(found["2006"] or 4, found["01"])[1]:
        raise TimeError(f'parsing time "{text}": day out of range')
