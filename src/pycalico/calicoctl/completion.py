"""``calicoctl completion``: what a shell needs to complete calls, made from the tables of commands. Beyond upstream.

``source <(calicoctl completion bash)``; likewise zsh; ``calicoctl completion fish | source``.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator

from pycalico.calicoctl import commands, names
from pycalico.calicoctl.commands import Command, Group
from pycalico.calicoctl.failure import Failure
from pycalico.calicoctl.syntax import Arguments, Syntax

_FORMATS = "ps wide yaml json custom-columns= go-template= go-template-file="
_BASH = """_calicoctl() {{
  local current=${{COMP_WORDS[COMP_CWORD]}} previous=${{COMP_WORDS[COMP_CWORD-1]}} path= word
  for word in "${{COMP_WORDS[@]:1:COMP_CWORD-1}}"; do
    case $word in -*) ;; *) path="$path $word" ;; esac
  done
  case $previous in
    -f|--filename|-c|--config|--from-report) COMPREPLY=($(compgen -f -- "$current")); return ;;
    -o|--output) COMPREPLY=($(compgen -W "{formats}" -- "$current")); return ;;
  esac
  local words=
  case "${{path# }}" in
{cases}
  esac
  COMPREPLY=($(compgen -W "$words" -- "$current"))
}}
complete -F _calicoctl calicoctl
"""
_ZSH = "autoload -U +X bashcompinit && bashcompinit\n"


def run(arguments: Arguments) -> None:
    """Raises Failure for a shell that is not known."""
    shell = arguments.words["SHELL"]
    if shell == "bash":
        sys.stdout.write(_bash())
    elif shell == "zsh":
        sys.stdout.write(_ZSH + _bash())
    elif shell == "fish":
        sys.stdout.write("".join(_fish()))
    else:
        raise Failure(f"no completion for '{shell}': use bash, zsh or fish")


def _nodes() -> Iterator[tuple[str, Syntax, tuple[str, ...]]]:
    """Path, syntax and the words that may follow, of every command and group."""
    top = tuple(commands.COMMANDS)
    yield "", commands.TOP, top
    for name, row in commands.COMMANDS.items():
        found = importlib.import_module(f"pycalico.calicoctl.{row}").GROUP if isinstance(row, str) else row
        yield from _below(name, found)


def _below(path: str, row: Command | Group) -> Iterator[tuple[str, Syntax, tuple[str, ...]]]:
    if isinstance(row, Command):
        takes_kind = any(form.words[:1] == ("KIND",) for form in row.syntax.forms)
        yield path, row.syntax, tuple(kind.lower() for kind in names.KINDS) if takes_kind else ()
        return
    yield path, row.syntax, tuple(row.commands)
    for name, inner in row.commands.items():
        yield from _below(f"{path} {name}", inner)


def _options(syntax: Syntax) -> list[str]:
    return ["--help", *(f"{each.name}{'=' if each.value else ''}" for each in syntax.options)]


def _bash() -> str:
    cases = [
        f'    "{path}"{"*" if path else ""}) words="{" ".join([*words, *_options(syntax)])}" ;;'
        # The longest path first: the first pattern that fits is taken.
        for path, syntax, words in sorted(_nodes(), key=lambda each: -each[0].count(" ") if each[0] else 1)
    ]
    return _BASH.format(formats=_FORMATS, cases="\n".join(cases))


def _fish() -> Iterator[str]:
    for path, syntax, words in _nodes():
        seen = [f"__fish_seen_subcommand_from {part}" for part in path.split()]
        when = "; and ".join(seen) or "__fish_use_subcommand"
        if words:
            yield f"complete -c calicoctl -f -n '{when}' -a '{' '.join(words)}'\n"
        for option in syntax.options:
            short = f" -s {option.short[1:]}" if option.short else ""
            value = " -r" if option.value else ""
            text = option.help.replace("'", "\\'")
            yield f"complete -c calicoctl -n '{when}' -l {option.name[2:]}{short}{value} -d '{text}'\n"
