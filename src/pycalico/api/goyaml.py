"""YAML (and so JSON) text to plain values, with the scalar rules and error texts of Calico's parser.

Scalars follow YAML 1.1 as go-yaml v2 reads it: unquoted ``y``, ``yes``, ``on`` are booleans, a repeated key's
last value wins. Observed with calicoctl v3.28.1.
"""

from __future__ import annotations

import base64
import math
import re
import struct
from typing import Any

import yaml

from pycalico.base import decimals

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
_TAG = "tag:yaml.org,2002:"
_OTHER_VERSION = re.compile(r"%YAML\s+(?!1\.1\b)\d")
#: An alias or an anchor.
_MARKS = re.compile(r"[*&]([\w-]+)", re.ASCII)


class _Loader(getattr(yaml, "CBaseLoader", yaml.BaseLoader)):  # type: ignore[misc]
    """Tells scalars whose tag is written from those whose tag is not: these have none."""

    DEFAULT_SCALAR_TAG = ""


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
    """The value of the first document; what follows it is not looked at. None when it is empty.

    Raises YAMLTextError.
    """
    if _OTHER_VERSION.match(text):
        raise YAMLTextError("yaml: found incompatible YAML document", 1)
    loader = _Loader(text)
    try:
        node = loader.get_node() if loader.check_node() else None
        if node is None:
            return None
        if "&" in text and "*" in text:
            _refuse_endless(node, frozenset(), text)
        return _value(node)
    except yaml.reader.ReaderError as error:
        raise YAMLTextError("yaml: control characters are not allowed") from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise YAMLTextError(_message(error, text), mark.line + 1 if mark else 0) from error
    except RecursionError as error:
        raise YAMLTextError("yaml: exceeded max depth of 10000") from error
    except yaml.YAMLError as error:
        raise YAMLTextError(f"yaml: {' '.join(str(error).split())}") from error
    finally:
        loader.dispose()


def _message(error: yaml.MarkedYAMLError, text: str) -> str:
    problem = str(error.problem or error.context or "cannot be read")
    problem = _WORDING.get(problem, problem)
    if problem == "found undefined alias" and error.problem_mark:
        return f"yaml: unknown anchor '{_name_at(error.problem_mark, text)}' referenced"
    if problem.startswith("expected the node content"):
        problem = "did not find expected node content"
    line = error.problem_mark.line if error.problem_mark else 0
    if line and isinstance(error, yaml.scanner.ScannerError):
        line += 1
    elif not line and error.context_mark:
        line = error.context_mark.line
    return f"yaml: line {line}: {problem}" if line else f"yaml: {problem}"


def _name_at(mark: yaml.Mark, text: str) -> str:
    """The name of the alias or the anchor there."""
    match = _MARKS.match(text.splitlines()[mark.line], mark.column)
    return match[1] if match else ""


def _refuse_endless(node: yaml.Node, above: frozenset[int], text: str) -> None:
    """An anchor may not be used in what it names."""
    if isinstance(node, yaml.ScalarNode):
        return
    if id(node) in above:
        raise YAMLTextError(f"yaml: anchor '{_name_at(node.start_mark, text)}' value contains itself")
    above |= {id(node)}
    for item in node.value:
        for each in item if isinstance(item, tuple) else (item,):
            _refuse_endless(each, above, text)


def _value(node: yaml.Node) -> Value:
    if isinstance(node, yaml.ScalarNode):
        found = _scalar(node)
        if isinstance(found, float) and not math.isfinite(found):
            # Everything becomes JSON on its way, which has no such numbers.
            raise YAMLTextError(f"json: unsupported value: {decimals.general(found)}")
        return found
    if isinstance(node, yaml.SequenceNode):
        return [_value(item) for item in node.value]
    found = {}
    for key, value in node.value:
        if key.value == "<<" and isinstance(key, yaml.ScalarNode) and not key.style:
            # Whichever comes later counts, a key of one's own or a merged one.
            found |= _merged(value)
        else:
            found[_key(key, value)] = _value(value)
    return found


def _merged(node: yaml.Node) -> dict[str, Value]:
    sources = node.value if isinstance(node, yaml.SequenceNode) else [node]
    merged: dict[str, Value] = {}
    for source in reversed(sources):
        if not isinstance(source, yaml.MappingNode):
            raise YAMLTextError("yaml: map merge requires map or sequence of maps as the value")
        merged |= _value(source)
    return merged


def _key(node: yaml.Node, value: yaml.Node) -> str:
    if not isinstance(node, yaml.ScalarNode):
        raise YAMLTextError(f"yaml: invalid map key: {_go_syntax(_value(node))}")
    found = _scalar(node)
    if found is None or (isinstance(found, int) and found >= 2**63):
        kind, shown = ("%!s(<nil>)", "<nil>") if found is None else ("uint64", hex(found))
        raise YAMLTextError(
            f"Unsupported map key of type: {kind}, key: {shown}, value: {_go_syntax(_value(value))}"
        )
    if isinstance(found, float):
        return _float_key(found)
    return found if isinstance(found, str) else text_of(found)


def _float_key(value: float) -> str:
    """A number as a key, which Go makes of 32 bits."""
    if not math.isfinite(value):
        return {"+Inf": ".inf", "-Inf": "-.inf"}.get(decimals.general(value), ".nan")
    for precision in range(1, 10):
        text = f"{value:.{precision}g}"
        if struct.pack("f", float(text)) == struct.pack("f", value):
            break
    return decimals.general(float(text))


def _go_syntax(value: Value) -> str:
    """As Go's ``%#v`` prints what its YAML parser reads."""
    if isinstance(value, dict):
        items = ", ".join(f'"{key}":{_go_syntax(item)}' for key, item in sorted(value.items()))
        return f"map[interface {{}}]interface {{}}{{{items}}}"
    if isinstance(value, list):
        return f"[]interface {{}}{{{', '.join(map(_go_syntax, value))}}}"
    if value is None:
        return "interface {}(nil)"
    return f'"{value}"' if isinstance(value, str) else text_of(value)


def _scalar(node: yaml.ScalarNode) -> Value:
    text = str(node.value)
    tag = str(node.tag).removeprefix(_TAG)
    if tag == "binary":
        try:
            return base64.b64decode(text, validate=True).decode(errors="surrogateescape")
        except ValueError as error:
            raise YAMLTextError("yaml: !!binary value contains invalid base64 data") from error
    if tag in _TAGGED:
        found = resolve(text)
        if tag == "float" and isinstance(found, int) and not isinstance(found, bool):
            found = float(found)
        if not isinstance(found, _TAGGED[tag]) or (tag == "int" and isinstance(found, bool)):
            raise YAMLTextError(f"yaml: cannot decode !!str `{text}` as a !!{tag}")
        return found
    if tag or node.style in ("'", '"', "|", ">"):
        return text
    return resolve(text)


#: Tags that decide what a scalar is, quoted or not.
_TAGGED: dict[str, type] = {"null": type(None), "bool": bool, "int": int, "float": float}


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
            found = _integer(text.replace("_", ""))
            if -(2**63) <= found < 2**64:
                return found
        if _FLOAT.fullmatch(text):
            number = float(text)
            return number if math.isfinite(number) else text
    return text


def _integer(text: str) -> int:
    digits = text.lstrip("+-")
    sign = -1 if text.startswith("-") else 1
    if len(digits) > 1 and digits[0] == "0" and digits[1] not in "bxo":
        return sign * int(digits, 8)
    return sign * int(digits, 0)


def text_of(value: Value) -> str:
    """A scalar as the text that it becomes where text is wanted: ``true``, ``12``, ``1.5``, ``1e+06``."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return decimals.general(value)
    return str(value)
