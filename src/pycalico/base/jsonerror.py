"""Why a text is no JSON, in the words of Go's decoder, which runtimes' operators know and match."""

from __future__ import annotations

import re

_BLANK = re.compile(r"[ \t\r\n]*")
_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_STRING = re.compile(r'"([^"\\\x00-\x1f]|\\(["\\/bfnrt]|u[0-9a-fA-F]{4}))*"')
_WORDS = ("true", "false", "null")
_END = "unexpected end of JSON input"


class _Flaw(Exception):
    pass


def flaw(text: str) -> str | None:
    """The message for the first flaw, or None when ``text`` is JSON."""
    try:
        end = _value(text, _skip(text, 0), "looking for beginning of value")
        end = _skip(text, end)
        if end < len(text):
            raise _bad(text, end, "after top-level value")
    except _Flaw as found:
        return str(found)
    except RecursionError:
        return "exceeded max depth"
    return None


def _skip(text: str, at: int) -> int:
    match = _BLANK.match(text, at)
    return match.end() if match else at


def _bad(text: str, at: int, where: str) -> _Flaw:
    if at >= len(text):
        return _Flaw(_END)
    character = text[at]
    shown = {"'": "\\'", '"': '"', "\n": "\\n", "\t": "\\t"}.get(character, character)
    return _Flaw(f"invalid character '{shown}' {where}")


def _value(text: str, at: int, where: str) -> int:
    if at >= len(text):
        raise _Flaw(_END)
    character = text[at]
    if character == "{":
        return _object(text, at + 1)
    if character == "[":
        return _array(text, at + 1)
    if character == '"':
        return _string(text, at)
    for word in _WORDS:
        if character == word[0]:
            for offset, letter in enumerate(word):
                if text[at + offset : at + offset + 1] != letter:
                    raise _bad(text, at + offset, f"in literal {word} (expecting '{letter}')")
            return at + len(word)
    match = _NUMBER.match(text, at)
    if match:
        return match.end()
    raise _bad(text, at, where if character != "-" else "in numeric literal")


def _string(text: str, at: int) -> int:
    match = _STRING.match(text, at)
    if match:
        return match.end()
    position = at + 1
    while position < len(text):
        if text[position] == "\\":
            if text[position + 1 : position + 2] not in tuple('"\\/bfnrtu'):
                raise _bad(text, position + 1, "in string escape code")
            position += 2
        elif text[position] < " ":
            raise _bad(text, position, "in string literal")
        else:
            position += 1
    raise _Flaw(_END)


def _object(text: str, at: int) -> int:
    at = _skip(text, at)
    if text[at : at + 1] == "}":
        return at + 1
    while True:
        if text[at : at + 1] != '"':
            raise _bad(text, at, "looking for beginning of object key string")
        at = _skip(text, _string(text, at))
        if text[at : at + 1] != ":":
            raise _bad(text, at, "after object key")
        at = _skip(text, _value(text, _skip(text, at + 1), "looking for beginning of value"))
        if text[at : at + 1] == "}":
            return at + 1
        if text[at : at + 1] != ",":
            raise _bad(text, at, "after object key:value pair")
        at = _skip(text, at + 1)


def _array(text: str, at: int) -> int:
    at = _skip(text, at)
    if text[at : at + 1] == "]":
        return at + 1
    while True:
        at = _skip(text, _value(text, at, "looking for beginning of value"))
        if text[at : at + 1] == "]":
            return at + 1
        if text[at : at + 1] != ",":
            raise _bad(text, at, "after array element")
        at = _skip(text, at + 1)
