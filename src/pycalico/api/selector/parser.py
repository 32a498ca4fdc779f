"""Text to tree. A recursive descent over a scanner; blanks are space and tab only."""

from __future__ import annotations

import re
from functools import lru_cache

from pycalico.api.selector.nodes import All, And, Compare, Global, Has, InSet, Not, Or, Selector

_BLANKS = re.compile(r"[ \t]*")
_KEY = re.compile(r"[a-zA-Z0-9_./-]{1,512}")
_STRING = re.compile(r"\"([^\"]*)\"|'([^']*)'")
_HAS = re.compile(r"has\([ \t]*([a-zA-Z0-9_./-]{1,512})[ \t]*\)")
_CALL = re.compile(r"(all|global)\([ \t]*\)")
#: Word operators count only right after a key.
_TEST = re.compile(
    r"(==|!=|contains(?![a-zA-Z0-9_./-])|starts[ \t]*with(?![a-zA-Z0-9_./-])|ends[ \t]*with(?![a-zA-Z0-9_./-])"
    r"|not[ \t]*in(?![a-zA-Z0-9_./-])|in(?![a-zA-Z0-9_./-]))"
)
#: Operators of two words, which may be written as one.
_SPACED = {"startswith": "starts with", "endswith": "ends with", "notin": "not in"}
#: Nesting beyond this is refused rather than left to exhaust the stack.
_MOST_DEPTH = 100


class SelectorError(ValueError):
    """The text is no selector; the message says what is wrong and where."""


@lru_cache(maxsize=8192)
def parse(text: str) -> Selector:
    """The tree of ``text``; empty text is ``all()``. Raises SelectorError."""
    scanner = _Scanner(text)
    if scanner.at_end():
        return All()
    tree = scanner.parse_or(0)
    if not scanner.at_end():
        raise scanner.error("unexpected characters")
    return tree


class _Scanner:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    def error(self, what: str) -> SelectorError:
        return SelectorError(f"{what} at position {self._at} of selector {self._text!r}")

    def at_end(self) -> bool:
        self._skip_blanks()
        return self._at >= len(self._text)

    def _skip_blanks(self) -> None:
        match = _BLANKS.match(self._text, self._at)
        self._at = match.end() if match else self._at

    def _take(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        self._skip_blanks()
        match = pattern.match(self._text, self._at)
        if match:
            self._at = match.end()
        return match

    def _take_mark(self, mark: str) -> bool:
        self._skip_blanks()
        if self._text.startswith(mark, self._at):
            self._at += len(mark)
            return True
        return False

    def parse_or(self, depth: int) -> Selector:
        operands = [self._parse_and(depth)]
        while self._take_mark("||"):
            operands.append(self._parse_and(depth))
        return operands[0] if len(operands) == 1 else Or(tuple(operands))

    def _parse_and(self, depth: int) -> Selector:
        operands = [self._parse_operation(depth)]
        while self._take_mark("&&"):
            operands.append(self._parse_operation(depth))
        return operands[0] if len(operands) == 1 else And(tuple(operands))

    def _parse_operation(self, depth: int) -> Selector:
        if depth > _MOST_DEPTH:
            raise self.error("nested too deeply")
        negated = False
        while self._take_mark("!"):
            negated = not negated
        tree = self._parse_operand(depth)
        return Not(tree) if negated else tree

    def _parse_operand(self, depth: int) -> Selector:
        if match := self._take(_HAS):
            return Has(match[1])
        if match := self._take(_CALL):
            return All() if match[1] == "all" else Global()
        if self._take_mark("("):
            tree = self.parse_or(depth + 1)
            if not self._take_mark(")"):
                raise self.error("expected )")
            return tree
        key = self._take(_KEY)
        if not key:
            raise self.error("expected a label, a function or a bracket")
        return self._parse_test(key[0])

    def _parse_test(self, key: str) -> Selector:
        match = self._take(_TEST)
        if not match:
            raise self.error(f"expected an operator after label {key!r}")
        joined = "".join(match[1].split())
        operator = _SPACED.get(joined, joined)
        if operator in ("in", "not in"):
            return InSet(key, self._parse_set(), negated=operator == "not in")
        return Compare(key, operator, self._parse_string())

    def _parse_string(self) -> str:
        match = self._take(_STRING)
        if not match:
            raise self.error("expected a quoted string")
        return match[1] if match[1] is not None else match[2]

    def _parse_set(self) -> tuple[str, ...]:
        if not self._take_mark("{"):
            raise self.error("expected {")
        values: set[str] = set()
        while not self._take_mark("}"):
            values.add(self._parse_string())
            if not self._take_mark(","):
                if not self._take_mark("}"):
                    raise self.error("expected , or }")
                break
        return tuple(sorted(values))
