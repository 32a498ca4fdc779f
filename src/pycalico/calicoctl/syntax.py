"""Command lines: options before, between and after words; long names may be cut to a unique beginning.

What is accepted, and the line that precedes the usage, follow calicoctl v3.28.1 (observed).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import msgspec

PROGRAM = "calicoctl"


class Option(msgspec.Struct, frozen=True):
    """``value`` is the placeholder of its argument, empty for a switch; ``help`` one or more words of ours."""

    name: str
    help: str
    short: str = ""
    value: str = ""
    default: str | None = None
    repeats: bool = False


class Form(msgspec.Struct, frozen=True):
    """One way to call a command. A word that ends in ``...`` takes any number, none included.

    ``takes`` are the options of this form alone, ``needs`` those that must be given.
    """

    words: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    takes: tuple[str, ...] = ()
    #: At most one of these may be given.
    one_of: tuple[str, ...] = ()


class Syntax(msgspec.Struct, frozen=True):
    """``usage`` is the block shown for a wrong call; options in no form's ``takes`` or ``needs`` go with every form."""

    usage: str
    summary: str
    options: tuple[Option, ...] = ()
    forms: tuple[Form, ...] = (Form(),)
    #: Options end at the first word (the program itself and groups of commands).
    options_first: bool = False


class Arguments(msgspec.Struct):
    """What was given: texts by option (lists for repeated ones), the switches, the words by name."""

    texts: dict[str, str]
    lists: dict[str, list[str]]
    switches: set[str]
    words: dict[str, str]
    names: list[str]

    def text(self, option: str) -> str:
        """Empty when not given and without a default."""
        return self.texts.get(option, "")


class UsageError(Exception):
    """The call does not fit; ``complaint`` may be empty."""

    def __init__(self, syntax: Syntax, complaint: str = "") -> None:
        super().__init__(complaint)
        self.syntax = syntax
        self.complaint = complaint


class HelpWanted(Exception):
    def __init__(self, syntax: Syntax) -> None:
        super().__init__()
        self.syntax = syntax


def program_name() -> str:
    """As a kubectl plugin the program calls itself ``kubectl-calico`` in its usage."""
    name = os.path.basename(sys.argv[0])  # noqa: PTH119 (pathlib is slow to load)
    return "kubectl-calico" if name.startswith("kubectl-") else PROGRAM


def usage_of(syntax: Syntax) -> str:
    return syntax.usage.replace(PROGRAM, program_name())


#: Stands for options that do not exist: help, or a value that is missing later on, comes first.
_UNKNOWN = "?"
HELP = Option("--help", "Show this text.", short="-h")


def parse(syntax: Syntax, argv: Sequence[str]) -> Arguments:
    """Raises UsageError, or HelpWanted when the options are sound and ask for help."""
    given, words = _split(syntax, argv)
    if "--help" in given:
        raise HelpWanted(syntax)
    if _UNKNOWN in given:
        raise UsageError(syntax)
    for form in syntax.forms:
        matched = _match(syntax, form, given, words)
        if matched is not None:
            return matched
    raise UsageError(syntax)


def _split(syntax: Syntax, argv: Sequence[str]) -> tuple[dict[str, list[str]], list[str]]:
    options = {each.name: each for each in (*syntax.options, HELP)}
    shorts = {each.short: each for each in options.values() if each.short}
    given: dict[str, list[str]] = {}
    words: list[str] = []
    rest = list(argv)
    while rest:
        current = rest.pop(0)
        if current == "--":
            words += [current, *rest]
            break
        if current.startswith("--"):
            name, equals, value = current.partition("=")
            option = _long(syntax, options, name)
            if option is None:
                given[_UNKNOWN] = []
                continue
            if not option.value and equals:
                raise UsageError(syntax, f"{option.name} must not have an argument")
            if option.value and not equals:
                if not rest:
                    raise UsageError(syntax, f"{option.name} requires argument")
                value = rest.pop(0)
            given.setdefault(option.name, []).append(value)
        elif current.startswith("-") and current != "-":
            _shorts(syntax, shorts, current[1:], rest, given)
        else:
            words.append(current)
            if syntax.options_first:
                words += rest
                break
    return given, words


def _long(syntax: Syntax, options: dict[str, Option], name: str) -> Option | None:
    """None for an unknown one."""
    if name in options:
        return options[name]
    alike = [each for each in options if each.startswith(name)]
    if len(alike) > 1:
        raise UsageError(syntax, f"{name} is not a unique prefix: {', '.join(alike)}?")
    return options[alike[0]] if alike else None


def _shorts(
    syntax: Syntax, shorts: dict[str, Option], letters: str, rest: list[str], given: dict[str, list[str]]
) -> None:
    while letters:
        name, letters = f"-{letters[0]}", letters[1:]
        option = shorts.get(name)
        if option is None:
            given[_UNKNOWN] = []
            continue
        value = ""
        if option.value:
            if not letters and not rest:
                raise UsageError(syntax, f"{name} requires argument")
            value, letters = (letters, "") if letters else (rest.pop(0), "")
        given.setdefault(option.name, []).append(value)


def _match(syntax: Syntax, form: Form, given: dict[str, list[str]], words: Sequence[str]) -> Arguments | None:
    special = {name for each in syntax.forms for name in (*each.takes, *each.needs)}
    for option, values in given.items():
        if option in special and option not in (*form.takes, *form.needs):
            return None
        if len(values) > 1 and not _option(syntax, option).repeats:
            return None
    if any(name not in given for name in form.needs) or sum(name in given for name in form.one_of) > 1:
        return None
    many = form.words[-1:] if form.words and form.words[-1].endswith("...") else ()
    fixed = form.words[: len(form.words) - len(many)]
    if len(words) < len(fixed) or (len(words) > len(fixed) and not many):
        return None
    found = Arguments({}, {}, set(), dict(zip(fixed, words, strict=False)), list(words[len(fixed) :]))
    for each in syntax.options:
        if not each.value:
            if each.name in given:
                found.switches.add(each.name)
        elif each.repeats:
            found.lists[each.name] = given.get(each.name, [])
        elif each.name in given:
            found.texts[each.name] = given[each.name][0]
        elif each.default is not None:
            found.texts[each.name] = each.default
    return found


def _option(syntax: Syntax, name: str) -> Option:
    return next(each for each in syntax.options if each.name == name)
