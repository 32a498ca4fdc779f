"""Tokens to a tree."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from itertools import islice

from pycalico.calicoctl.templates import lexer
from pycalico.calicoctl.templates.errors import at_line
from pycalico.calicoctl.templates.lexer import Token
from pycalico.calicoctl.templates.tree import Branch, Call, Jump, Node, Operand, Pipe, Text

_CONSTANTS = {"true": True, "false": False, "nil": None}
_BRANCHES = ("if", "with", "range")


def parse(text: str, functions: AbstractSet[str]) -> tuple[Node, ...]:
    """Raises TemplateError in Go's words."""
    parser = _Parser(lexer.tokens(text), functions, text.count("\n") + 1)
    nodes, end = parser.nodes(in_range=False)
    if end is not None:
        raise at_line(end.line, f"unexpected {{{{{end.text}}}}}")
    return nodes


class _Parser:
    """Takes tokens as it needs them, so that of several faults the first is told."""

    def __init__(self, tokens: Iterator[Token], functions: AbstractSet[str], last_line: int) -> None:
        self._tokens = tokens
        self._taken: list[Token] = []
        self._at = 0
        self._functions = functions
        self._last_line = last_line

    def nodes(self, *, in_range: bool) -> tuple[tuple[Node, ...], Token | None]:
        """Up to ``end``, ``else`` (returned) or the end of the text (None)."""
        found: list[Node] = []
        while self._peek() is not None:
            token = self._next("")
            if token.kind == "text":
                found.append(Text(token.text))
                continue
            keyword = self._peek()
            word = keyword.text if keyword is not None and keyword.kind == "name" else ""
            if keyword is not None and word in ("end", "else"):
                self._at += 1
                return tuple(found), keyword
            if keyword is not None and word in _BRANCHES:
                self._at += 1
                found.append(self._branch(word, in_range=in_range))
            elif keyword is not None and word in ("break", "continue"):
                if not in_range:
                    raise at_line(keyword.line, f"{{{{{word}}}}} outside {{{{range}}}}")
                self._at += 1
                self._close(f"{{{{{word}}}}}")
                found.append(Jump(word))
            elif keyword is not None and word in ("define", "template", "block"):
                raise at_line(keyword.line, f"{word} is not known here: write the template as one text")
            else:
                found.append(self._pipe("command"))
                self._close("command")
        return tuple(found), None

    def _branch(self, keyword: str, *, in_range: bool) -> Branch:
        pipe = self._pipe(keyword)
        self._close(keyword)
        inside = in_range or keyword == "range"
        then, end = self.nodes(in_range=inside)
        otherwise: tuple[Node, ...] = ()
        if end is not None and end.text == "else":
            following = self._peek()
            if following is not None and following.kind == "name" and following.text == keyword != "range":
                self._at += 1
                return Branch(keyword, pipe, then, (self._branch(keyword, in_range=in_range),))
            self._close("else")
            otherwise, end = self.nodes(in_range=in_range)
        if end is None:
            raise at_line(self._last_line, "unexpected EOF")
        if end.text == "else":
            raise at_line(end.line, "expected end; found {{else}}")
        self._close("end")
        return Branch(keyword, pipe, then, otherwise)

    def _pipe(self, where: str, *, end: str = "close") -> Pipe:
        variables, declares = self._variables()
        calls: list[Call] = []
        operands: list[Operand] = []
        while True:
            token = self._peek()
            if token is None:
                raise at_line(self._last_line, "unclosed action")
            if token.text == "|" or end in (token.kind, token.text):
                if not operands:
                    raise at_line(token.line, f"missing value for {where}")
                calls.append(Call(tuple(operands)))
                operands = []
                if token.text != "|":
                    return Pipe(tuple(calls), variables, declares)
                self._at += 1
                continue
            operands.append(self._operand(where))

    def _variables(self) -> tuple[tuple[str, ...], bool]:
        """``$x :=``, ``$i, $x :=`` or ``$x =`` at the start of a pipeline."""
        first = self._peek()
        if first is None or first.kind != "variable":
            return (), False
        ahead = self._ahead(4)
        names = tuple(each.text for each in ahead if each.kind == "variable")
        texts = [each.text for each in ahead]
        for count, shape in ((1, 1), (2, 3)):
            if len(names) >= count and texts[shape : shape + 1] in ([":="], ["="]):
                if count == 2 and texts[1] != ",":
                    continue
                self._at += shape + 1
                return names[:count], texts[shape] == ":="
        return (), False

    def _operand(self, where: str) -> Operand:
        token = self._next(where)
        line, column = token.line, token.column
        match token.kind:
            case "field":
                fields = tuple(token.text[1:].split("."))
                return Operand("dot", fields=fields, line=line, column=column)
            case "dot":
                return Operand("dot", line=line, column=column)
            case "variable":
                return Operand("variable", token.text, self._fields(), line=line, column=column)
            case "string":
                return Operand("string", lexer.string_value(token.text), line=line, column=column)
            case "number":
                return Operand("number", self._number(token), line=line, column=column)
            case "name" if token.text in _CONSTANTS:
                return Operand("constant", _CONSTANTS[token.text], line=line, column=column)
            case "name":
                if token.text not in self._functions:
                    raise at_line(token.line, f'function "{token.text}" not defined')
                return Operand("name", token.text, line=line, column=column)
            case "sign" if token.text == "(":
                pipe = self._pipe("parenthesized pipeline", end=")")
                self._at += 1
                return Operand("pipe", fields=self._fields(), pipe=pipe, line=line, column=column)
            case _:
                raise at_line(token.line, f'unexpected "{token.text}" in {where}')

    def _fields(self) -> tuple[str, ...]:
        """Fields that follow without a blank."""
        token = self._peek()
        if token is not None and token.kind == "field" and not token.spaced:
            self._at += 1
            return tuple(token.text[1:].split("."))
        return ()

    def _number(self, token: Token) -> int | float:
        for kind in (lambda text: int(text, 0), float):
            try:
                return kind(token.text)
            except ValueError:
                continue
        raise at_line(token.line, f'bad number syntax: "{token.text}"')

    def _peek(self) -> Token | None:
        return next(iter(self._ahead(1)), None)

    def _ahead(self, count: int) -> list[Token]:
        missing = self._at + count - len(self._taken)
        if missing > 0:
            self._taken += islice(self._tokens, missing)
        return self._taken[self._at : self._at + count]

    def _next(self, where: str) -> Token:
        token = self._peek()
        if token is None:
            raise at_line(self._last_line, f"unexpected EOF in {where}" if where else "unexpected EOF")
        self._at += 1
        return token

    def _close(self, where: str) -> None:
        token = self._next(where)
        if token.kind != "close":
            raise at_line(token.line, f'unexpected "{token.text}" in {where}')
