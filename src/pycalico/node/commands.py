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


@app.command()
def mtu(
    nodes: Annotated[list[str] | None, typer.Argument(help="Nodes to try; all others when left out.")] = None,
) -> None:
    """Send packets that must not be fragmented to the other nodes, and tell which size arrives. Changes nothing."""
    import os  # noqa: PLC0415
    from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415

    from pycalico.api.v3.node import Node  # noqa: PLC0415
    from pycalico.datastore.errors import DatastoreError  # noqa: PLC0415
    from pycalico.datastore.open import open_client  # noqa: PLC0415
    from pycalico.node import nodename, pathmtu, pathprobe  # noqa: PLC0415

    try:
        client = open_client(environ=os.environ)
        try:
            found = list(pathmtu.ends(client.list(Node).items, nodename.determine(os.environ)))
        finally:
            client.close()
        with ThreadPoolExecutor(8) as workers:
            ways = list(
                workers.map(
                    lambda end: pathmtu.way(end, pathmtu.device_towards, pathprobe.largest),
                    [end for end in found if not nodes or end[0] in nodes],
                )
            )
    except (DatastoreError, pathprobe.CannotProbe) as error:
        typer.echo(f"pycalico node mtu: {error}", err=True)
        raise typer.Exit(1) from None
    unknown = set(nodes or ()) - {one.node for one in ways}
    if unknown:
        typer.echo(
            f"pycalico node mtu: no other node has an address and this name: {', '.join(sorted(unknown))}",
            err=True,
        )
        raise typer.Exit(1)
    pods = pathmtu.pods_mtu()
    typer.echo(pathmtu.as_text(ways, pods), nl=False)
    raise typer.Exit(1 if pathmtu.advice(ways, pods) else 0)
