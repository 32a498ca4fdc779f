"""``pycalico lint``: policies that do something else than their author may have meant."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

import typer

from pycalico.api.manifests import ManifestError
from pycalico.api.v3.networkpolicy import GlobalNetworkPolicy, NetworkPolicy
from pycalico.calc import lint
from pycalico.calicoctl import manifestfiles
from pycalico.datastore.errors import DatastoreError
from pycalico.datastore.open import open_client

_KINDS = (NetworkPolicy, GlobalNetworkPolicy)


def run(
    filenames: Annotated[
        list[str] | None, typer.Option("--filename", "-f", help="A file or folder; - is the standard input.")
    ] = None,
) -> None:
    """Tell of policies that only log, allow nothing, or have rules that do nothing.

    Those of files, or without any those of the datastore, found as calicoctl finds it. Exit code 1 when there are
    findings, 2 when the policies cannot be read.
    """
    try:
        found = list(_of_files(filenames) if filenames else _of_datastore())
    except (DatastoreError, ManifestError, OSError) as error:
        typer.echo(f"cannot read the policies: {str(error).strip()}", err=True)
        raise typer.Exit(2) from error
    told = 0
    for policy in found:
        meta = policy.metadata
        place = f"{meta.namespace}/" if meta.namespace else ""
        for finding in lint.findings(policy):
            told += 1
            typer.echo(f"{type(policy).__name__} {place}{meta.name.removeprefix('default.')}: {finding}")
    typer.echo(f"{len(found)} policies, {told} findings")
    if told:
        raise typer.Exit(1)


def _of_files(names: Iterable[str]) -> Iterable[NetworkPolicy | GlobalNetworkPolicy]:
    for name in names:
        for path in manifestfiles.files(name, recursive=True):
            yield from (each for each in manifestfiles.load(path) if isinstance(each, _KINDS))


def _of_datastore() -> Iterable[NetworkPolicy | GlobalNetworkPolicy]:
    client = open_client()
    try:
        yield from client.list(NetworkPolicy).items
        yield from client.list(GlobalNetworkPolicy).items
    finally:
        client.close()
