"""``pycalico apiserver``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer


def apiserver(
    data: Annotated[Path, typer.Option(help="Directory of the database and keys; made if absent.")],
    kubeconfig: Annotated[
        Path | None, typer.Option(help="File to write a kubeconfig to, once the server serves.")
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes a free one.")
    ] = 6443,
    insecure: Annotated[bool, typer.Option("--insecure", help="Plain HTTP instead of TLS.")] = False,
    history: Annotated[float, typer.Option(min=0, help="Seconds a broken watch can be resumed for.")] = 600.0,
    history_events: Annotated[int, typer.Option(min=0, help="Most changes kept for that.")] = 20_000,
    audit_log_path: Annotated[
        Path | None, typer.Option(help="File to append a line to for each request: who asked for what.")
    ] = None,
) -> None:
    """Run the embedded Kubernetes API server until SIGTERM."""
    from pycalico.apiserver import server  # noqa: PLC0415 (--help need not load the server)

    settings = server.Settings(
        data, host, port, kubeconfig, insecure, history, history_events, audit_log_path
    )
    try:
        server.run(settings)
    except server.ServerError as e:
        print(f"apiserver: {e}", file=sys.stderr)
        raise typer.Exit(1) from None
