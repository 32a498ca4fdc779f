"""Template text to tokens."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

import msgspec

from pycalico.calicoctl.templates.errors import at_line


class Token(msgspec.Struct, frozen=True):
    """``kind``: text, open, close, field, variable, dot, name, string, number, sign. ``column`` counts from 0."""

    kind: str
    text: str
    line: int
    column: int
    #: Whether blanks stood before it.
    spaced: bool = False


_TOKEN = re.compile(
    r"""(?P<field>(?:\.[A-Za-z_]\w*)+)|(?P<variable>\$\w*)|(?P<number>[-+]?\d[\w.]*)|(?P<name>[A-Za-z_]\w*)
    |(?P<string>"(?:[^"\\\n]|\\.)*"|`[^`]*`)|(?P<sign>:=|=|\(|\)|\||,)|(?P<dot>\.)""",
    re.VERBOSE,
)
_ESCAPED_SLASH = re.compile(r"\\/")


def tokens(text: str) -> Iterator[Token]:
    """Raises TemplateError."""
    position = 0
    trim = False
    while True:
        start = text.find("{{", position)
        literal = text[position : start if start >= 0 else len(text)]
        if trim:
            literal = literal.lstrip(" \t\r\n")
        trim_right = (
            start >= 0 and text[start + 2 : start + 3] == "-" and text[start + 3 : start + 4] in " \t\r\n"
        )
        if trim_right:
            literal = literal.rstrip(" \t\r\n")
        if literal:
            yield Token("text", literal, _line(text, position), 0)
        if start < 0:
            return
        position = start + (3 if trim_right else 2)
        trim = False
        comment = re.compile(r"\s*/\*.*?\*/\s*?( -)?}}", re.DOTALL).match(text, position)
        if comment:
            position, trim = comment.end(), bool(comment[1])
            continue
        if text.startswith("/*", position):
            reason = (
                "comment ends before closing delimiter" if "*/" in text[position:] else "unclosed comment"
            )
            raise at_line(_line(text, position), reason)
        yield Token("open", "{{", _line(text, start), _column(text, start))
        while True:
            inside = re.compile(r"\s*").match(text, position)
            spaced = bool(inside and inside[0])
            position = inside.end() if inside else position
            close = "-}}" if spaced and text.startswith("-}}", position) else "}}"
            if text.startswith(close, position):
                yield Token("close", close, _line(text, position), _column(text, position))
                position += len(close)
                trim = close == "-}}"
                break
            token = _TOKEN.match(text, position)
            if token is None:
                raise _bad(text, position)
            yield Token(
                str(token.lastgroup), token[0], _line(text, position), _column(text, position), spaced
            )
            position = token.end()


def _bad(text: str, position: int) -> Exception:
    line = _line(text, position)
    if position >= len(text):
        return at_line(line, "unclosed action")
    character = text[position]
    if character == '"':
        return at_line(line, "unterminated quoted string")
    if character == "`":
        return at_line(line, "unterminated raw quoted string")
    shown = f"U+{ord(character):04X} '{character}'"
    return at_line(
        line, f"{'bad character' if character in '{}' else 'unrecognized character in action:'} {shown}"
    )


def string_value(token: str) -> str:
    """What a quoted string stands for."""
    if token.startswith("`"):
        return token[1:-1]
    return str(ast.literal_eval(_ESCAPED_SLASH.sub("/", token)))


def _line(text: str, position: int) -> int:
    return text.count("\n", 0, position) + 1


def _column(text: str, position: int) -> int:
    return position - (text.rfind("\n", 0, position) + 1)
