"""Faults and the error that lists them, printed as upstream prints them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from pycalico.base import decimals


class Fault(msgspec.Struct, frozen=True):
    """``value`` is the offending value as text; None leaves it out."""

    field: str
    value: str | None
    reason: str

    def __str__(self) -> str:
        shown = "" if self.value is None else f" = '{self.value}'"
        return f"{self.field}{shown} ({self.reason})"


class ValidationError(ValueError):
    """One line for one fault, a list for several."""

    def __init__(self, faults: Iterable[Fault]) -> None:
        self.faults = tuple(faults)
        if len(self.faults) == 1:
            super().__init__(f"error with field {self.faults[0]}")
        else:
            super().__init__(
                "error with the following fields:\n" + "".join(f"-  {each}\n" for each in self.faults)
            )


class Faults:
    """Collects faults while a resource is walked."""

    def __init__(self) -> None:
        self.found: list[Fault] = []

    def add(self, field: str, value: Any, reason: str) -> None:
        self.found.append(Fault(field, go_text(value), reason))

    def bare(self, field: str, reason: str) -> None:
        """Without the value."""
        self.found.append(Fault(field, None, reason))

    def tag(self, field: str, value: Any, tag: str) -> None:
        """A value that does not meet the rule ``tag`` of its field."""
        self.add(field, value, f"Reason: failed to validate Field: {field} because of Tag: {tag} ")

    def field(
        self, field: str, value: Any, tag: str, holds: Callable[[Any], bool], *, required: bool = False
    ) -> None:
        """Checks one value; an empty one is fine unless ``required``."""
        if (value or required) and not holds(value):
            self.tag(field, value, tag)

    def each(self, field: str, values: Iterable[Any], tag: str, holds: Callable[[Any], bool]) -> None:
        """Checks every item of a list; faults are named ``field[2]``."""
        for index, value in enumerate(values):
            if not holds(value):
                self.tag(f"{field}[{index}]", value, tag)

    def raise_any(self) -> None:
        if self.found:
            raise ValidationError(self.found)


def go_text(value: Any, *, inner: bool = False) -> str:
    """A value as Go's ``%v`` prints it: ``[a b]``, ``{1 2}``, ``&{x}``, ``<nil>``."""
    if value is None:
        return "<nil>"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return decimals.general(value)
    if isinstance(value, (list, tuple)):
        return "[" + " ".join(go_text(item, inner=True) for item in value) + "]"
    if isinstance(value, dict):
        return "map[" + " ".join(f"{key}:{go_text(value[key])}" for key in sorted(value)) + "]"
    if isinstance(value, msgspec.Struct):
        names = value.__struct_fields__
        body = " ".join(go_text(getattr(value, name), inner=True) for name in names)
        return f"{{{body}}}" if inner else f"&{{{body}}}"
    return str(value)
