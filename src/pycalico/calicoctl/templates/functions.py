"""The functions that a template may call."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import msgspec

from pycalico.calicoctl.columns import joined
from pycalico.calicoctl.templates import values

Function = Callable[..., Any]
_VERB = re.compile(r"%[-+ #0]*\d*(?:\.\d+)?[a-zA-Z%]")


class CallError(Exception):
    """A function cannot do with its arguments."""


def known(cluster_asn: Callable[[], str]) -> dict[str, Function]:
    """By name. ``and`` and ``or`` stop early, so the interpreter evaluates them itself."""

    def config(name: str) -> str:
        if name.lower() != "asnumber":
            raise CallError("unhandled config type")
        return cluster_asn()

    return {
        "join": joined,
        "joinAndTruncate": joined,
        "config": config,
        "and": _last, "or": _last, "not": lambda value: not values.truth(value), "len": _len, "index": _index,
        "slice": _slice, "print": _print, "printf": _printf, "println": _println, "html": _html,
        "eq": lambda first, *others: any(first == each for each in others),
        "ne": lambda first, other: first != other,
        "lt": lambda first, other: first < other, "le": lambda first, other: first <= other,
        "gt": lambda first, other: first > other, "ge": lambda first, other: first >= other,
    }  # fmt: skip


def _last(*items: Any) -> Any:
    return items[-1]


def _len(value: Any) -> int:
    if isinstance(value, (str, list, dict)):
        return len(value.encode()) if isinstance(value, str) else len(value)
    raise CallError(f"len of type {values.go_type(value)}")


def _index(value: Any, *keys: Any) -> Any:
    for key in keys:
        if isinstance(value, list):
            if not isinstance(key, int):
                raise CallError(f"cannot index slice/array with type {values.go_type(key)}")
            if not 0 <= key < len(value):
                raise CallError(f"index out of range: {key}")
            value = value[key]
        elif isinstance(value, dict):
            value = value.get(key, "")
        else:
            raise CallError(f"can't index item of type {values.go_type(value)}")
    return value


def _slice(value: Any, *bounds: int) -> Any:
    if not isinstance(value, (str, list)):
        raise CallError(f"can't slice item of type {values.go_type(value)}")
    return value[slice(*bounds)] if len(bounds) > 1 else value[bounds[0] if bounds else 0 :]


def _print(*items: Any) -> str:
    """Blanks between neighbours of which neither is a text."""
    out = ""
    for at, item in enumerate(items):
        if at and not isinstance(item, str) and not isinstance(items[at - 1], str):
            out += " "
        out += values.text(item)
    return out


def _println(*items: Any) -> str:
    return " ".join(map(values.text, items)) + "\n"


def _printf(form: str, *items: Any) -> str:
    rest = list(items)

    def one(match: re.Match[str]) -> str:
        verb = match[0]
        if verb.endswith("%"):
            return "%"
        if not rest:
            return f"%!{verb[-1]}(MISSING)"
        value = rest.pop(0)
        if verb[-1] == "q":
            return msgspec.json.encode(values.text(value)).decode()
        if verb[-1] == "t":
            return values.text(value)
        if verb[-1] in "vs":
            return (verb[:-1] + "s") % values.text(value)
        try:
            return str(verb % value)
        except (TypeError, ValueError):
            return f"%!{verb[-1]}({values.go_type(value)}={values.text(value)})"

    text = _VERB.sub(one, form)
    if rest:
        text += "%!(EXTRA " + ", ".join(f"{values.go_type(each)}={values.text(each)}" for each in rest) + ")"
    return text


def _html(value: Any) -> str:
    import html  # noqa: PLC0415 (hardly ever called)

    return html.escape(values.text(value)).replace("&quot;", "&#34;").replace("&#x27;", "&#39;")
