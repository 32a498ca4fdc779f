"""``pycalico ipam``: the audit of addresses, and the repair after a backup was restored."""

from __future__ import annotations

from typing import Annotated

import typer

from pycalico.api.v3.clusterinformation import ClusterInformation
from pycalico.datastore.errors import DatastoreError
from pycalico.datastore.open import open_client
from pycalico.ipam import audit
from pycalico.ipam.errors import IPAMError

app = typer.Typer(help="Compare IPAM's records with what runs.", no_args_is_help=True)


@app.callback()
def _root() -> None:
    pass


@app.command("audit")
def run(
    *,
    repair: Annotated[bool, typer.Option("--repair", help="Make the records follow what runs.")] = False,
) -> None:
    """List addresses leaked, missing and recorded for another; with --repair, settle them.

    Finds the datastore as calicoctl does, in the environment. Exit code 1 when disagreements remain.
    """
    try:
        client = open_client()
        if repair and client.get(ClusterInformation, "default").spec.datastore_ready is not False:
            typer.echo(
                "The datastore is not locked: pods that are being set up would lose their addresses. "
                "Lock it with 'calicoctl datastore migrate lock' and repeat.",
                err=True,
            )
            raise typer.Exit(1)
        findings = audit.survey(client)
        _show(findings)
        problems = []
        if repair and len(findings):
            problems = audit.repair(client, findings)
            findings = audit.survey(client)
            typer.echo(f"Repaired; {len(findings)} disagreements remain.")
    except (DatastoreError, IPAMError) as error:
        typer.echo(str(error).strip(), err=True)
        raise typer.Exit(1) from error
    for problem in problems:
        typer.echo(problem, err=True)
    if len(findings):
        raise typer.Exit(1)


def _show(findings: audit.Findings) -> None:
    for release in findings.leaked:
        typer.echo(f"{release.address} leaked: allocated to {release.handle}, and no endpoint has it")
    for use in findings.missing:
        typer.echo(f"{use.address} missing: {use.namespace}/{use.pod} has it, and it is not allocated")
    for release, use in findings.mistaken:
        typer.echo(
            f"{release.address} mistaken: {use.namespace}/{use.pod} has it, and it is allocated to {release.handle}"
        )
    typer.echo(
        f"{len(findings.leaked)} leaked, {len(findings.missing)} missing, {len(findings.mistaken)} mistaken"
    )
