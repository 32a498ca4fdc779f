"""The command ``pycalico``: a table of sub-commands, each imported only when it is called."""

from __future__ import annotations

import importlib
from typing import Any, Final

import typer
import typer.core
import typer.main

#: name → (module, attribute, help). The attribute is a function (a command) or a `typer.Typer` (a group).
COMMANDS: Final[dict[str, tuple[str, str, str]]] = {
    "datastore": ("pycalico.datastore.commands", "app", "Work with the datastore itself."),
    "ipam": ("pycalico.ipam.commands", "app", "Compare IPAM's records with what runs."),
    "lint": ("pycalico.calicoctl.lint", "run", "Tell of policies that may not do what was meant."),
    "node": ("pycalico.node.commands", "app", "Run a node's services."),
    "bgp": ("pycalico.bgp.commands", "app", "Look closely at this node's BGP."),
    "apiserver": ("pycalico.apiserver.command", "apiserver", "Run the embedded Kubernetes API server."),
    "lab": ("pycalico.lab.cli", "app", "The four-node cluster on this machine."),
}


class _Lazy(typer.core.TyperGroup):
    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002 (click's signature)
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ARG002 (click's signature)
        row = COMMANDS.get(cmd_name)
        if row is None:
            return None
        found = getattr(importlib.import_module(row[0]), row[1])
        if isinstance(found, typer.Typer):
            command = typer.main.get_command(found)
        else:
            single = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
            single.command()(found)
            command = typer.main.get_command(single)
        command.name = cmd_name
        return command


app = typer.Typer(
    cls=_Lazy, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False,
    help="Project Calico for Kubernetes, in Python.",
)  # fmt: skip


@app.callback()
def _root() -> None:
    pass


def main() -> None:
    app()
