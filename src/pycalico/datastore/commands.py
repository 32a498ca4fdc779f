"""``pycalico datastore``: what an operator needs of the datastore by itself."""

from __future__ import annotations

import typer
import yaml

from pycalico.datastore.kubernetes.crds import crds

app = typer.Typer(help="Work with the datastore itself.", no_args_is_help=True)


@app.callback()
def _root() -> None:
    pass


@app.command("crds")
def print_crds() -> None:
    """Print the CustomResourceDefinitions as YAML, for kubectl apply -f -."""
    typer.echo(yaml.safe_dump_all(crds(), sort_keys=False), nl=False)
