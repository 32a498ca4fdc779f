"""Label and field selectors of list and watch requests, parsed once to a predicate on objects."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from pycalico.apiserver import errors

Predicate = Callable[[Mapping[str, Any]], bool]
LabelTest = Callable[[Mapping[str, str]], bool]

_SET = re.compile(r"^\s*([^\s!=,()]+)\s+(in|notin)\s*\(([^()]*)\)\s*$")
_EQUAL = re.compile(r"^\s*([^\s!=,()]+)\s*(==|=|!=)\s*([^\s!=,()]*)\s*$")
_EXISTS = re.compile(r"^\s*(!?)\s*([^\s!=,()]+)\s*$")
_ORDER = re.compile(r"^\s*([^\s!=,()<>]+)\s*([<>])\s*(-?\d+)\s*$")
_KEY = re.compile(r"^([a-z0-9A-Z]([-a-z0-9A-Z.]{0,251}[a-z0-9A-Z])?/)?[a-zA-Z0-9]([-\w.]{0,61}[a-zA-Z0-9])?$")


def parse_labels(text: str) -> Predicate | None:
    """Parse ``a=b,c in (d,e),!f``.

    Returns:
        A predicate, or None where the selector is empty and so selects all.

    Raises:
        errors.StatusError: 400, the text is no selector.
    """
    tests = [_label_test(part) for part in _split(text)]
    if not tests:
        return None

    def matches(obj: Mapping[str, Any]) -> bool:
        labels = obj["metadata"].get("labels") or {}
        return all(test(labels) for test in tests)

    return matches


def _split(text: str) -> list[str]:
    """Split at the commas that stand outside parentheses."""
    parts = re.split(r",(?![^()]*\))", text) if text.strip() else []
    if any(not part.strip() for part in parts):
        raise errors.bad_request(f"unable to parse requirement: found ',' without a term in {text!r}")
    return parts


def _label_test(part: str) -> LabelTest:
    if match := _SET.match(part):
        key, operator, values = match.groups()
        allowed = frozenset(value.strip() for value in values.split(","))
        _check_key(key)
        if operator == "in":
            return lambda labels: labels.get(key) in allowed
        return lambda labels: labels.get(key) not in allowed
    if match := _EQUAL.match(part):
        key, operator, value = match.groups()
        _check_key(key)
        if operator == "!=":
            return lambda labels: labels.get(key) != value
        return lambda labels: labels.get(key) == value
    if match := _ORDER.match(part):
        key, operator, bound = match.groups()
        _check_key(key)
        return lambda labels: _compares(labels.get(key), operator, int(bound))
    if match := _EXISTS.match(part):
        absent, key = match.groups()
        _check_key(key)
        if absent:
            return lambda labels: key not in labels
        return lambda labels: key in labels
    raise errors.bad_request(f"unable to parse requirement: {part.strip()!r} is no label selector")


def _compares(value: str | None, operator: str, bound: int) -> bool:
    try:
        number = int(value or "")
    except ValueError:
        return False
    return number > bound if operator == ">" else number < bound


def _check_key(key: str) -> None:
    if not _KEY.match(key):
        raise errors.bad_request(f"unable to parse requirement: {key!r} is no valid label key")


def parse_fields(text: str, allowed: tuple[str, ...]) -> tuple[Predicate | None, str | None]:
    """Parse ``metadata.name=x,spec.nodeName!=y``.

    Returns:
        The predicate (None selects all) and the name, where the selector pins ``metadata.name``.

    Raises:
        errors.StatusError: 400, a field that this kind cannot be selected by, or no selector at all.
    """
    tests: list[tuple[list[str], bool, str]] = []
    name = None
    for part in text.split(",") if text.strip() else []:
        match = _EQUAL.match(part) or re.match(r"^\s*([^\s!=]+)\s*(==|=|!=)\s*(.*?)\s*$", part)
        if not match:
            raise errors.bad_request(f"invalid selector: {text!r}; can't understand {part!r}")
        field, operator, value = match.groups()
        if field not in ("metadata.name", "metadata.namespace") and field not in allowed:
            raise errors.bad_request(f"field label not supported: {field}")
        if field == "metadata.name" and operator != "!=":
            name = value
        tests.append((field.split("."), operator != "!=", value))
    if not tests:
        return None, None

    def matches(obj: Mapping[str, Any]) -> bool:
        return all((_field(obj, path) == value) is equal for path, equal, value in tests)

    return matches, name


def _field(obj: Mapping[str, Any], path: list[str]) -> str:
    value: Any = obj
    for step in path:
        value = value.get(step) if isinstance(value, Mapping) else None
    if path == ["source"] and isinstance(value, Mapping):
        value = value.get("component")
    if value is None:
        return "false" if path[-1] in ("unschedulable", "hostNetwork") else ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)
