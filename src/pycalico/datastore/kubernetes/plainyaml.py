"""Reads the YAML that kubeconfigs are mostly made of: maps and lists in blocks, and scalars that mean themselves.

Anything else (quotes of two kinds, flow collections, anchors, folded text, tags) is left to PyYAML, so this is never a
second opinion. PyYAML costs 10 ms to load (7 of them compiling expressions), of the 60 that a CNI plugin takes without
its agent.
"""

from __future__ import annotations

import re
from typing import Any

#: ``key: value``, ``key:``; a value of letters that YAML cannot read as anything but a string, or true and false.
_ENTRY = re.compile(r"( *)((?:- )?)([A-Za-z][A-Za-z0-9-]*):(?: +(\S.*?))?\s*")
_PLAIN = re.compile(r"[A-Za-z/][A-Za-z0-9_./+=@:\[\]-]*")
#: A token that begins with digits, and that nobody can take for a number: neither 0b1, 0o7, 0xf nor 1e5.
_TOKEN = re.compile(
    r"(?:0[ACDF-NP-WYZacdf-np-wyz]|(?:[1-9]|[0-9]{2,})[A-DF-Za-df-z]|[0-9]+[Ee][0-9]*[A-Za-z])[A-Za-z0-9+/=]*"
)
_QUOTED = re.compile(r'"[A-Za-z0-9_./+=@: -]*"')
_BOOLEANS = {"true": True, "false": False}
#: Words that YAML 1.1 reads as something else than themselves.
_OTHERS = frozenset(("true", "false", "y", "n", "yes", "no", "on", "off", "null"))


def read(text: bytes) -> dict[str, Any] | None:
    """The document; None when it holds anything but the simplest YAML."""
    try:
        lines = [line.rstrip() for line in text.decode("ascii").split("\n")]
    except UnicodeDecodeError:
        return None
    entries = []
    for line in lines:
        if not line or line.startswith("#"):
            continue
        match = _ENTRY.fullmatch(line)
        if match is None:
            return None
        indent, dash, key, value = match.groups()
        entries.append((len(indent), bool(dash), key, value))
    try:
        document, end = _map(entries, 0, 0)
    except _NotPlain:
        return None
    return document if end == len(entries) else None


class _NotPlain(Exception):
    pass


_Entry = tuple[int, bool, str, str | None]


def _map(entries: list[_Entry], at: int, indent: int, *, item: bool = False) -> tuple[dict[str, Any], int]:
    """The map whose keys stand at ``indent``; with ``item``, its first key stands behind a dash."""
    found: dict[str, Any] = {}
    first = True
    while at < len(entries):
        column, dash, key, value = entries[at]
        column += 2 if dash else 0
        if dash and not (item and first):
            break
        if column != indent:
            break
        if key in found or key.lower() in _OTHERS:
            raise _NotPlain
        first = False
        at += 1
        if value is not None:
            found[key] = _scalar(value)
        else:
            found[key], at = _below(entries, at, indent)
    if at < len(entries) and entries[at][0] > indent:
        raise _NotPlain
    return found, at


def _below(entries: list[_Entry], at: int, indent: int) -> tuple[Any, int]:
    """What a key without a value has below it: a list, a map, or nothing."""
    if at == len(entries):
        return None, at
    column, dash, _, _ = entries[at]
    if dash and column >= indent:
        items = []
        while at < len(entries) and entries[at][1] and entries[at][0] == column:
            one, at = _map(entries, at, column + 2, item=True)
            items.append(one)
        return items, at
    if column > indent:
        return _map(entries, at, column)
    return None, at


def _scalar(value: str) -> Any:
    if value in _BOOLEANS:
        return _BOOLEANS[value]
    if _QUOTED.fullmatch(value):
        return value[1:-1]
    if _PLAIN.fullmatch(value) and not value.endswith(":") and value.lower() not in _OTHERS:
        return value
    if _TOKEN.fullmatch(value):
        return value
    raise _NotPlain
