"""``pycalico node ...``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, help="Run a node's services.")


@app.callback()
def _root() -> None:
    pass


@app.command()
def run(
    services: Annotated[
        Path, typer.Option(help="Directory of the services' run scripts; enabled ones go to its 'enabled'.")
    ] = Path("/etc/service"),
) -> None:
    """Register the node, then become the supervisor of its services (what the image's start_runit does)."""
    from pycalico.node import tree  # noqa: PLC0415 - --help need not load it

    raise typer.Exit(tree.run(services))


@app.command()
def tools(
    directory: Annotated[Path, typer.Argument(help="Where to put them, such as /usr/local/bin.")],
) -> None:
    """Install the image's small commands: start_runit, restart-calico-confd, versions."""
    from pycalico.node import tree  # noqa: PLC0415

    tree.install_tools(directory)
