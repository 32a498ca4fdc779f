"""Help texts, made from the same tables that the parser reads."""

from __future__ import annotations

from typing import Any

from pycalico.calicoctl import commands, syntax
from pycalico.calicoctl.syntax import HELP, Option, Syntax

#: First line of the help of commands that talk to the datastore; scripts that call an unknown one look for it.
DATASTORE = """Set the Calico datastore access information in the environment variables or
in a file given with --config. ETCD_ENDPOINTS names an etcd, KUBECONFIG a Kubernetes cluster.

"""
_WIDTH = 30


def program() -> str:
    rows = {name: _summary(name) for name in commands.COMMANDS}
    return _text(commands.TOP, rows) + f"\nSee '{syntax.program_name()} <command> --help' for one command.\n"


def group(table: Any) -> str:
    rows = {name: row.syntax.summary for name, row in table.commands.items()}
    return DATASTORE + _text(table.syntax, rows)


def command(found: Syntax) -> str:
    return _text(found, {})


def _summary(name: str) -> str:
    row = commands.COMMANDS[name]
    return commands.SUMMARIES[name] if isinstance(row, str) else row.syntax.summary


def _text(found: Syntax, rows: dict[str, str]) -> str:
    lines = [syntax.usage_of(found), ""]
    if rows:
        most = max(map(len, rows))
        lines += [f"    {name:<{most}}  {summary}" for name, summary in rows.items()] + [""]
    lines += ["Options:", *(_option(each) for each in (HELP, *found.options)), ""]
    lines += ["Description:", f"  {found.summary}"]
    return "\n".join(lines) + "\n"


def _option(option: Option) -> str:
    value = f"={option.value}" if option.value else ""
    head = f"  {option.short:<2} {option.name}{value}"
    default = f" [default: {option.default}]" if option.default else ""
    gap = " " if len(head) < _WIDTH else "\n" + " " * (_WIDTH + 1)
    return f"{head:<{_WIDTH}}{gap}{option.help}{default}"
