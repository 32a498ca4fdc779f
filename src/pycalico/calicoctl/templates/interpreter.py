"""Walks a template's tree over its data."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pycalico.calicoctl.templates import values
from pycalico.calicoctl.templates.errors import NAME, TemplateError
from pycalico.calicoctl.templates.functions import CallError, Function
from pycalico.calicoctl.templates.tree import Branch, Call, Jump, Node, Operand, Pipe, Text


class _Jumped(Exception):
    pass


class Interpreter:
    """One run. ``functions`` by name."""

    def __init__(self, functions: Mapping[str, Function]) -> None:
        self._functions = functions
        self._out: list[str] = []
        self._scopes: list[dict[str, Any]] = []

    def run(self, tree: Sequence[Node], data: Any) -> str:
        """Raises TemplateError."""
        self._scopes = [{"$": data}]
        self._walk(tree, data)
        return "".join(self._out)

    def _walk(self, nodes: Sequence[Node], dot: Any) -> None:
        for node in nodes:
            if isinstance(node, Text):
                self._out.append(node.text)
            elif isinstance(node, Branch):
                self._branch(node, dot)
            elif isinstance(node, Jump):
                raise _Jumped(node.keyword)
            else:
                value = self._pipe(node, dot)
                if not node.variables:
                    self._out.append("<no value>" if value is None else values.text(value))

    def _branch(self, node: Branch, dot: Any) -> None:
        self._scopes.append({})
        try:
            value = self._pipe(node.pipe, dot, assign=node.keyword != "range")
            if node.keyword == "range":
                self._range(node, value, dot)
            elif values.truth(value):
                self._walk(node.then, value if node.keyword == "with" else dot)
            else:
                self._walk(node.otherwise, dot)
        finally:
            self._scopes.pop()

    def _range(self, node: Branch, value: Any, dot: Any) -> None:
        entries: Iterable[tuple[Any, Any]]
        if isinstance(value, dict):
            entries = sorted(value.items())
        elif isinstance(value, list):
            entries = enumerate(value)
        elif value is None:
            entries = ()
        else:
            first = node.pipe.calls[0].operands[0]
            raise self._fault(first, f"range can't iterate over {values.text(value)}")
        empty = True
        for key, item in entries:
            empty = False
            scope = self._scopes[-1]
            names = node.pipe.variables
            if names:
                scope[names[-1]] = item
            if len(names) > 1:
                scope[names[0]] = key
            try:
                self._walk(node.then, item)
            except _Jumped as jump:
                if str(jump) == "break":
                    break
        if empty:
            self._walk(node.otherwise, dot)

    def _pipe(self, pipe: Pipe, dot: Any, *, assign: bool = True) -> Any:
        value: Any = None
        for at, call in enumerate(pipe.calls):
            value = self._call(call, dot, [value] if at else [])
        if assign:
            for name in pipe.variables:
                self._set(name, value, declares=pipe.declares)
        return value

    def _set(self, name: str, value: Any, *, declares: bool) -> None:
        if not declares:
            for scope in reversed(self._scopes):
                if name in scope:
                    scope[name] = value
                    return
        self._scopes[-1][name] = value

    def _call(self, call: Call, dot: Any, final: list[Any]) -> Any:
        first, *rest = call.operands
        if first.kind != "name":
            if rest or final:
                raise self._fault(first, f"can't give argument to non-function {_shown(first)}")
            return self._value(first, dot)
        name = str(first.value)
        if name in ("and", "or"):
            return self._until(name == "or", rest, final, dot)
        arguments = [self._value(each, dot) for each in rest] + final
        try:
            return self._functions[name](*arguments)
        except (CallError, ValueError, AttributeError) as error:
            raise self._fault(first, f"error calling {name}: {error}", call) from error
        except TypeError as error:
            if "positional argument" in str(error):
                raise self._fault(first, f"wrong number of args for {name}: got {len(arguments)}") from error
            raise self._fault(first, f"error calling {name}: incompatible types for comparison") from error

    def _until(self, wanted: bool, rest: Sequence[Operand], final: list[Any], dot: Any) -> Any:
        """The first operand that settles it, or the last."""
        value: Any = None
        for each in rest:
            value = self._value(each, dot)
            if values.truth(value) == wanted:
                return value
        return final[0] if final else value

    def _value(self, operand: Operand, dot: Any) -> Any:
        value: Any
        match operand.kind:
            case "dot":
                value = dot
            case "variable":
                value = self._variable(operand)
            case "pipe" if operand.pipe is not None:
                value = self._pipe(operand.pipe, dot)
            case "name":
                return self._call(Call((operand,)), dot, [])
            case _:
                return operand.value
        for name in operand.fields:
            value = self._field(operand, value, name)
        return value

    def _variable(self, operand: Operand) -> Any:
        for scope in reversed(self._scopes):
            if operand.value in scope:
                return scope[str(operand.value)]
        raise TemplateError(f'template: {NAME}:{operand.line}: undefined variable "{operand.value}"')

    def _field(self, operand: Operand, value: Any, name: str) -> Any:
        if value is None:
            raise self._fault(operand, f"nil pointer evaluating interface {{}}.{name}")
        try:
            return values.field(value, name)
        except values.Missing as error:
            raise self._fault(operand, f"can't evaluate field {name} in type {error}") from error

    def _fault(self, operand: Operand, what: str, call: Call | None = None) -> TemplateError:
        """``call`` where all of it is at fault."""
        place = f"{operand.line}:{operand.column}"
        shown = " ".join(map(_shown, call.operands)) if call else _shown(operand)
        message = f'template: {NAME}:{place}: executing "{NAME}" at <{shown}>: {what}'
        return TemplateError(message, "".join(self._out))


def _shown(operand: Operand) -> str:
    fields = "".join(f".{name}" for name in operand.fields)
    if operand.kind == "dot":
        return fields or "."
    if operand.kind == "string":
        return f'"{operand.value}"'
    return f"{operand.value}{fields}"
