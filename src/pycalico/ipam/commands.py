"""``pycalico ipam``: the audit of addresses, the repair after a backup was restored, and how long addresses rest."""

from __future__ import annotations

from typing import Annotated

import typer

from pycalico.api.v3.clusterinformation import ClusterInformation
from pycalico.datastore.client import Client
from pycalico.datastore.errors import DatastoreError
from pycalico.datastore.kubernetes.client import KubernetesClient
from pycalico.datastore.open import open_client
from pycalico.ipam import audit, auditevents
from pycalico.ipam.allocator import Allocator
from pycalico.ipam.errors import IPAMError

app = typer.Typer(help="Compare IPAM's records with what runs.", no_args_is_help=True)


@app.callback()
def _root() -> None:
    pass


@app.command("audit")
def run(
    *,
    repair: Annotated[bool, typer.Option("--repair", help="Make the records follow what runs.")] = False,
    events: Annotated[
        bool, typer.Option("--events", help="Put a Kubernetes Warning on the pods and nodes concerned.")
    ] = False,
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
        if events:
            _tell(client, findings)
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
    for leak in findings.leaked:
        typer.echo(f"{leak.address} leaked: allocated to {leak.handle}, and no endpoint has it")
    for use in findings.missing:
        typer.echo(f"{use.address} missing: {use.namespace}/{use.pod} has it, and it is not allocated")
    for release, use in findings.mistaken:
        typer.echo(
            f"{release.address} mistaken: {use.namespace}/{use.pod} has it, and it is allocated to {release.handle}"
        )
    typer.echo(
        f"{len(findings.leaked)} leaked, {len(findings.missing)} missing, {len(findings.mistaken)} mistaken"
    )


def _tell(client: Client, findings: audit.Findings) -> None:
    if not isinstance(client, KubernetesClient):
        typer.echo("--events needs Kubernetes as the datastore.", err=True)
        raise typer.Exit(1)
    told = auditevents.put(client.rest, findings)
    typer.echo(f"{told} new events; what is known already is not told again within the hour.")


@app.command("cooldown")
def cooldown(
    seconds: Annotated[int | None, typer.Argument(min=0, help="0 lets addresses be free at once.")] = None,
) -> None:
    """Show, or set, how long an address rests after its release before automatic assignment gives it again.

    With Kubernetes as the datastore the definitions of IPAMConfig and IPAMBlock have to know of it: apply those of
    'pycalico datastore crds'.
    """
    try:
        allocator = Allocator(open_client())
        config = allocator.config()
        if seconds is not None:
            config.spec.ip_cooldown_seconds = seconds
            config = allocator.set_config(config)
    except (DatastoreError, IPAMError) as error:
        typer.echo(str(error).strip(), err=True)
        raise typer.Exit(1) from error
    if seconds is not None and config.spec.ip_cooldown_seconds != seconds:
        typer.echo(
            "The cluster's definition of IPAMConfig has no ipCooldownSeconds and dropped it: apply the definitions of "
            "'pycalico datastore crds', then repeat.",
            err=True,
        )
        raise typer.Exit(1)
    typer.echo(f"Released addresses rest for {config.spec.ip_cooldown_seconds} s.")
