"""The parts of a template."""

from __future__ import annotations

import msgspec


class Text(msgspec.Struct, frozen=True):
    text: str


class Operand(msgspec.Struct, frozen=True):
    """``kind``: field, variable, dot, string, number, constant, name, pipe. ``fields`` are looked up in it."""

    kind: str
    value: str | int | float | bool | None = None
    fields: tuple[str, ...] = ()
    pipe: Pipe | None = None
    line: int = 1
    column: int = 0


class Call(msgspec.Struct, frozen=True):
    """A function with arguments, or a single operand."""

    operands: tuple[Operand, ...]


class Pipe(msgspec.Struct, frozen=True):
    """Calls, each given the one before as its last argument; ``variables`` take the outcome."""

    calls: tuple[Call, ...]
    variables: tuple[str, ...] = ()
    declares: bool = False


class Branch(msgspec.Struct, frozen=True):
    """``keyword``: if, with or range."""

    keyword: str
    pipe: Pipe
    then: tuple[Node, ...]
    otherwise: tuple[Node, ...] = ()


class Jump(msgspec.Struct, frozen=True):
    """``break`` or ``continue``."""

    keyword: str


Node = Text | Pipe | Branch | Jump
