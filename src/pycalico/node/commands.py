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


@app.command()
def addresses(
    methods: Annotated[
        list[str] | None,
        typer.Argument(help="Values of IP_AUTODETECTION_METHOD; all that make sense here when left out."),
    ] = None,
) -> None:
    """Show which address each autodetection method would take for this node. Changes nothing."""
    from pycalico.node import interfaces, preview  # noqa: PLC0415
    from pycalico.node.autodetect import Surroundings  # noqa: PLC0415

    try:
        around = Surroundings(interfaces.read(), interfaces.source_towards)
    except interfaces.InterfacesUnknown as error:
        typer.echo(f"pycalico node addresses: {error}", err=True)
        raise typer.Exit(1) from None
    for family in (4, 6):
        answers = preview.preview(methods or preview.methods_of(around, family), family, around)
        typer.echo(preview.as_text(answers), nl=False)
