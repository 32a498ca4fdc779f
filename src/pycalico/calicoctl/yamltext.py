"""Plain values to YAML as go-yaml v2 writes it: keys in natural order, lists not indented, 80 columns.

The parser's library is not needed for this: writing is most of what ``get -o yaml`` does, and this is faster.
"""

from __future__ import annotations

import functools
import math
import re
from typing import Any

from pycalico.base import decimals

_WIDTH = 80
#: A column from which no line gets full: keys are not broken.
_NEVER = -1_000_000
_RESERVED = {
    "", "y", "Y", "yes", "Yes", "YES", "on", "On", "ON", "true", "True", "TRUE",
    "n", "N", "no", "No", "NO", "off", "Off", "OFF", "false", "False", "FALSE",
    "~", "null", "Null", "NULL", ".nan", ".NaN", ".NAN",
    ".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF", "-.inf", "-.Inf", "-.INF",
}  # fmt: skip
_NUMBER = re.compile(
    r"[-+]?(0[bB][01]+|0[oO]?[0-7]+|0[xX][0-9a-fA-F]+|[0-9]+|(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?)"
)
_SEXAGESIMAL = re.compile(r"[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+(?:\.[0-9_]*)?")
_TIME = re.compile(
    r"\d{4}-\d{1,2}-\d{1,2}([Tt ]\s*\d{1,2}:\d{1,2}:\d{1,2}(\.\d+)?\s*(Z|[-+]\d{1,2}(:?\d\d)?)?)?"
)
#: Text that needs no second look: a letter, then nothing that YAML gives a meaning.
_SIMPLE = re.compile(r"[A-Za-z/_][A-Za-z0-9/_.()=-]*")
#: What is written as an escape: control characters, line breaks of other alphabets, and beyond 16 bits.
_SPECIAL = re.compile("[^\n\x20-\x7e\xa0-\u2027\u202a-\ud7ff\ue000-\ufdcf\ufdf0-\ufefe\uff00-\ufffd]")
_INDICATORS = frozenset("#,[]{}&*!|>'\"%@`")
_ESCAPES = {
    "\0": "0", "\a": "a", "\b": "b", "\t": "t", "\n": "n", "\v": "v", "\f": "f", "\r": "r", "\x1b": "e",
    '"': '"', "\\": "\\", "\x85": "N", "\xa0": "_", "\u2028": "L", "\u2029": "P",
}  # fmt: skip


def dump(value: Any) -> str:
    """One document."""
    out: list[str] = []
    if isinstance(value, dict) and value:
        _mapping(value, 0, out, first="")
    elif isinstance(value, list) and value:
        _sequence(value, 0, out)
    else:
        out.append(_leaf(value, 0, 0) + "\n")
    return "".join(out)


def _mapping(value: dict[str, Any], indent: int, out: list[str], first: str) -> None:
    """``first`` stands before the first key in place of the indentation."""
    blank = " " * indent
    before = first
    for key in _ordered(tuple(value)):
        item = value[key]
        head = f"{before}{_key(key)}:"
        before = blank
        if item.__class__ is str:
            out.append(f"{head} {_text(item, indent, len(head) + 1)}\n")
        elif item.__class__ is dict and item:
            out.append(head + "\n")
            _mapping(item, indent + 2, out, blank + "  ")
        elif item.__class__ is list and item:
            out.append(head + "\n")
            _sequence(item, indent, out)
        else:
            out.append(f"{head} {_leaf(item, indent, len(head) + 1)}\n")


def _sequence(value: list[Any], indent: int, out: list[str]) -> None:
    lead = " " * indent + "- "
    for item in value:
        if isinstance(item, dict) and item:
            _mapping(item, indent + 2, out, lead)
        elif isinstance(item, list) and item:
            inner: list[str] = []
            _sequence(item, indent + 2, inner)
            inner[0] = lead + inner[0][indent + 2 :]
            out += inner
        else:
            out.append(f"{lead}{_leaf(item, indent, indent + 2)}\n")


def _leaf(value: Any, indent: int, column: int) -> str:
    if value is None:
        return "null"
    if value is True:
        return "true"
    if value is False:
        return "false"
    if isinstance(value, str):
        return _text(value, indent, column)
    if isinstance(value, float):
        return _number(value)
    if isinstance(value, dict):
        return "{}"
    return "[]" if isinstance(value, list) else str(value)


def _number(value: float) -> str:
    """It was JSON before, where whole numbers have no exponent; up to 64 bits they are then integers."""
    whole = value.is_integer() and abs(value) < 2**63
    return decimals.plain(value) if whole and value else decimals.general(value or 0.0)


@functools.lru_cache(maxsize=4096)
def _key(key: str) -> str:
    if key == "<<" or "\n" in key:  # unquoted the first would merge; a key is on one line
        return _double(key, 0, _NEVER)
    return key if _SIMPLE.fullmatch(key) and key not in _RESERVED else _styled(key, 0, _NEVER)


@functools.lru_cache(maxsize=1024)
def _ordered(keys: tuple[str, ...]) -> tuple[str, ...]:
    if all(key.isalpha() for key in keys):
        return tuple(sorted(keys))
    return tuple(sorted(keys, key=functools.cmp_to_key(_natural)))


def _natural(one: str, other: str) -> int:
    """Numbers inside by their value, other signs before letters."""
    for at, (a, b) in enumerate(zip(one, other, strict=False)):
        if a == b:
            continue
        if a.isalpha() or b.isalpha():
            if a.isalpha() and b.isalpha():
                return -1 if a < b else 1
            return -1 if b.isalpha() else 1
        left, right = _digits(one, at), _digits(other, at)
        # A zero inside a number weighs by what stands before it.
        leading = "1" if "0" in (a, b) and re.search(r"[1-9][0-9]*$", one[:at]) else "0"
        first, second = int(leading + left), int(leading + right)
        if first != second:
            return -1 if first < second else 1
        if len(left) != len(right):
            return -1 if len(left) < len(right) else 1
        return -1 if a < b else 1
    return len(one) - len(other)


def _digits(text: str, at: int) -> str:
    match = re.compile(r"[0-9]*").match(text, at)
    return match[0] if match else ""


def _text(value: str, indent: int, column: int) -> str:
    if len(value) < _WIDTH - 40 and "\n" not in value:
        return _short(value)
    if _SIMPLE.fullmatch(value):
        return value  # no blank where it could be broken; too long for a reserved word
    return _styled(value, indent, column)


@functools.lru_cache(maxsize=8192)
def _short(value: str) -> str:
    """Text that fits its line wherever it stands."""
    return value if _SIMPLE.fullmatch(value) and value not in _RESERVED else _styled(value, 0, 0)


def _styled(value: str, indent: int = 0, column: int = 0) -> str:
    if "\n" in value and not _SPECIAL.search(value) and not re.search(r" (\n|$)", value):
        return _literal(value, indent)
    if "\n" in value or _SPECIAL.search(value) or _means_something(value):
        return _double(value, indent, column)
    if _plain_allowed(value):
        return _folded(value, indent, column, inside=False)
    return "'" + _folded(value.replace("'", "''"), indent, column + 1, inside=True) + "'"


def _means_something(value: str) -> bool:
    """Whether unquoted it would be read as something else than text."""
    bare = value.replace("_", "")
    return bool(
        value in _RESERVED
        or (_NUMBER.fullmatch(bare) and not _too_large(bare))
        or _SEXAGESIMAL.fullmatch(value)
        or _TIME.fullmatch(value)
    )


def _too_large(number: str) -> bool:
    """A number beyond what a float holds is text."""
    return not set(number.lower()) & set("xob") and math.isinf(float(number))


def _plain_allowed(value: str) -> bool:
    if value.startswith(("---", "...")) or value[0] in _INDICATORS or value[0] == " " or value[-1] in " :":
        return False
    if value[0] in "?-" and (len(value) == 1 or value[1] == " "):
        return False
    return ": " not in value and " #" not in value and "\t" not in value


def _folded(value: str, indent: int, column: int, *, inside: bool) -> str:
    """Broken at single blanks once the line is full; ``inside`` quotes not at either end."""
    if column + len(value) <= _WIDTH:
        return value
    out: list[str] = []
    for at, character in enumerate(value):
        single = character == " " and value[at - 1 : at] != " " and value[at + 1 : at + 2] != " "
        edge = inside and (at == 0 or at == len(value) - 1)
        if single and column > _WIDTH and not edge:
            out.append("\n" + " " * (indent + 2))
            column = indent + 2
        else:
            out.append(character)
            column += 1
    return "".join(out)


def _double(value: str, indent: int, column: int) -> str:
    out: list[str] = ['"']
    column += 1
    for at, character in enumerate(value):
        if character == " " and column > _WIDTH and 0 < at < len(value) - 1 and value[at - 1] != " ":
            out.append("\n" + " " * (indent + 2) + ("\\" if value[at + 1] == " " else ""))
            column = indent + 2
            continue
        shown = character
        if character in _ESCAPES:
            shown = "\\" + _ESCAPES[character]
        elif _SPECIAL.match(character):
            code = ord(character)
            shown = f"\\x{code:02X}" if code < 256 else f"\\u{code:04X}" if code < 65536 else f"\\U{code:08X}"
        out.append(shown)
        column += len(shown)
    return "".join([*out, '"'])


def _literal(value: str, indent: int) -> str:
    hint = "2" if value[0] in " \n" else ""
    chomp = "" if value.endswith("\n") else "-"
    if value.endswith("\n\n") or value == "\n":
        chomp = "+"
    body = value.removesuffix("\n") if chomp != "+" else value[:-1]
    lines = [" " * (indent + 2) + line if line else "" for line in body.split("\n")]
    return f"|{hint}{chomp}\n" + "\n".join(lines)
