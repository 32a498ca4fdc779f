"""YAML (and so JSON) text to plain values, with the scalar rules and error texts of Calico's parser.

Scalars follow YAML 1.1 as go-yaml v2 reads it: unquoted ``y``, ``yes``, ``on`` are booleans, a repeated key's
last value wins. Observed with calicoctl v3.28.1.
"""

from __future__ import annotations

import math
import re
from typing import Any

import yaml

Value = Any

_TRUE = {"y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON"}
_FALSE = {"n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF"}
_NULL = {"", "~", "null", "Null", "NULL"}
_INFINITE = {
    ".inf": math.inf, ".Inf": math.inf, ".INF": math.inf, "+.inf": math.inf, "+.Inf": math.inf,
    "+.INF": math.inf, "-.inf": -math.inf, "-.Inf": -math.inf, "-.INF": -math.inf,
    ".nan": math.nan, ".NaN": math.nan, ".NAN": math.nan,
}  # fmt: skip
_INT = re.compile(r"[-+]?(0b[01_]+|0o?[0-7_]+|0x[0-9a-fA-F_]+|[1-9][0-9_]*|0)")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_LOADER = getattr(yaml, "CBaseLoader", yaml.BaseLoader)
#: libyaml's texts where the parser in Python words them otherwise.
_WORDING = {
    "mapping values are not allowed here": "mapping values are not allowed in this context",
    "sequence entries are not allowed here": "block sequence entries are not allowed in this context",
}


class YAMLTextError(ValueError):
    """The text is no YAML; the message is one line (``yaml: line 2: ...``, counted as go-yaml does).

    ``line`` is where it is wrong, from 1; 0 when that is not known.
    """

    def __init__(self, text: str, line: int = 0) -> None:
        super().__init__(text)
        self.line = line


def parse(text: str) -> Value:
    """The value of one document; None when it is empty. Raises YAMLTextError."""
    try:
        node = yaml.compose(text, Loader=_LOADER)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise YAMLTextError(_message(error), mark.line + 1 if mark else 0) from error
    except (yaml.YAMLError, RecursionError) as error:
        raise YAMLTextError(f"yaml: {' '.join(str(error).split())}") from error
    return None if node is None else _value(node)


def _message(error: yaml.MarkedYAMLError) -> str:
    problem = str(error.problem or error.context or "cannot be read")
    problem = _WORDING.get(problem, problem)
    if problem.startswith("expected the node content"):
        problem = "did not find expected node content"
    line = error.problem_mark.line if error.problem_mark else 0
    if line and isinstance(error, yaml.scanner.ScannerError):
        line += 1
    elif not line and error.context_mark:
        line = error.context_mark.line
    return f"yaml: line {line}: {problem}" if line else f"yaml: {problem}"


def _value(node: yaml.Node) -> Value:
    if isinstance(node, yaml.ScalarNode):
        return _scalar(node)
    if isinstance(node, yaml.SequenceNode):
        return [_value(item) for item in node.value]
    merged: dict[str, Value] = {}
    own: dict[str, Value] = {}
    for key, value in node.value:
        if key.value == "<<" and isinstance(key, yaml.ScalarNode) and not key.style:
            for source in value.value if isinstance(value, yaml.SequenceNode) else [value]:
                merged = {**_value(source), **merged}
            continue
        own[_key(_value(key))] = _value(value)
    return {**merged, **own}


def _key(value: Value) -> str:
    return value if isinstance(value, str) else text_of(value)


def _scalar(node: yaml.ScalarNode) -> Value:
    text = str(node.value)
    if node.style in ("'", '"', "|", ">"):
        return text
    return resolve(text)


def resolve(text: str) -> Value:
    """What a plain scalar stands for."""
    if text in _NULL:
        return None
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    if text in _INFINITE:
        return _INFINITE[text]
    if text[0] in "-+.0123456789":
        if _INT.fullmatch(text):
            return _integer(text.replace("_", ""))
        if _FLOAT.fullmatch(text):
            return float(text)
    return text


def _integer(text: str) -> int:
    digits = text.lstrip("+-")
    sign = -1 if text.startswith("-") else 1
    if len(digits) > 1 and digits[0] == "0" and digits[1] not in "bxo":
        return sign * int(digits, 8)
    return sign * int(digits, 0)


def text_of(value: Value) -> str:
    """A scalar as the text that it becomes where text is wanted: ``true``, ``12``, ``1.5``."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return float_text(value)
    return str(value)


def float_text(value: float) -> str:
    """The shortest decimal that reads back as ``value``, as Go's ``%v`` prints it."""
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    if math.isnan(value):
        return "NaN"
    if value == int(value) and abs(value) < 1e21:
        return str(int(value))
    return repr(value)
