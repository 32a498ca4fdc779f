"""Command lines in the form of Go's flag package, as upstream's programs take them: ``-x``, ``--x``, ``-x=v``, ``-x v``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from pycalico.base import duration


class Flag(NamedTuple):
    """``kind`` is bool, string or duration; ``default`` is its text."""

    name: str
    help: str
    kind: str = "bool"
    default: str = ""


class BadFlag(Exception):
    """Go's sentence about what is wrong with the command line."""


class Help(Exception):
    """``-h`` or ``-help`` was given."""


class Arguments(NamedTuple):
    """Switches that were set, and the values of the other flags (their defaults where not given)."""

    switches: set[str]
    texts: dict[str, str]


_TRUE = ("1", "t", "T", "TRUE", "true", "True")
_FALSE = ("0", "f", "F", "FALSE", "false", "False")


def parse(flags: Iterable[Flag], words: Sequence[str]) -> Arguments:
    """Stops at the first word that is no flag, as Go does. Raises BadFlag and Help."""
    by_name = {flag.name: flag for flag in flags}
    found = Arguments(set(), {flag.name: flag.default for flag in by_name.values() if flag.kind != "bool"})
    rest = list(words)
    while rest and rest[0].startswith("-") and rest[0] != "-":
        word = rest.pop(0)
        if word == "--":
            break
        name, equals, value = word.removeprefix("-").removeprefix("-").partition("=")
        flag = by_name.get(name)
        if flag is None:
            if name in ("h", "help"):
                raise Help
            raise BadFlag(f"flag provided but not defined: -{name}")
        if flag.kind == "bool":
            if equals and value not in _TRUE + _FALSE:
                raise BadFlag(f'invalid boolean value "{value}" for -{name}: parse error')
            if not equals or value in _TRUE:
                found.switches.add(name)
            else:
                found.switches.discard(name)
            continue
        if not equals:
            if not rest:
                raise BadFlag(f"flag needs an argument: -{name}")
            value = rest.pop(0)
        if flag.kind == "duration":
            try:
                duration.parse_ns(value)
            except duration.DurationError as error:
                raise BadFlag(f'invalid value "{value}" for flag -{name}: parse error') from error
        found.texts[name] = value
    return found


def usage(flags: Iterable[Flag]) -> str:
    """A paragraph for each flag, in the order given."""
    lines = []
    for flag in flags:
        kind = "" if flag.kind == "bool" else f" {flag.kind}"
        default = f' (default "{flag.default}")' if flag.kind == "string" and flag.default else ""
        default = f" (default {flag.default})" if flag.kind == "duration" else default
        if len(flag.name) == 1:
            lines.append(f"  -{flag.name}\t{flag.help}{default}")
        else:
            lines += [f"  -{flag.name}{kind}", f"    \t{flag.help}{default}"]
    return "\n".join(lines)
