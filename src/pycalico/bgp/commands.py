"""``pycalico bgp ...``: this node's BGP, looked at closely."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, help="Look closely at this node's BGP.")


@app.callback()
def _root() -> None:
    pass


@app.command()
def watch(
    interface: Annotated[str, typer.Argument(help="Interface to listen on; all when left out.")] = "",
    pcap: Annotated[Path | None, typer.Option(help="Read this pcap or pcapng file instead.")] = None,
    port: Annotated[list[int] | None, typer.Option(help="TCP port of BGP; may be given again.")] = None,
    peer: Annotated[str, typer.Option(help="Only messages from or to this address.")] = "",
    output: Annotated[str, typer.Option("--output", "-o", help="text or json (an object a line).")] = "text",
    count: Annotated[int, typer.Option(help="End after this many messages; 0 is no end.", min=0)] = 0,
    seconds: Annotated[float | None, typer.Option(help="End after this many seconds.", min=0)] = None,
    keepalives: Annotated[bool, typer.Option(help="Show KEEPALIVEs, too.")] = True,
) -> None:
    """Decode BGP messages: OPEN, UPDATE, KEEPALIVE, NOTIFICATION, ROUTE-REFRESH; live, or from a capture."""
    from pycalico.bgp import watch as watching  # noqa: PLC0415 - --help need not load it
    from pycalico.bgp.packets import BadCapture  # noqa: PLC0415
    from pycalico.bgp.wire import Keepalive  # noqa: PLC0415

    if output not in ("text", "json"):
        _end(f"--output takes text or json, not {output!r}")
    ports = frozenset(port or [179])
    if not all(0 < number <= 0xFFFF for number in ports):
        _end("--port takes numbers from 1 to 65535")
    if pcap and interface:
        _end("listen on an interface or read a capture, not both")
    heard = watching.from_file(pcap, ports) if pcap else watching.from_interface(interface, ports, seconds)
    shown = 0
    try:
        for item in heard:
            if (peer and peer not in (item.source[0], item.destination[0])) or (
                not keepalives and isinstance(item.message, Keepalive)
            ):
                continue
            lines = [watching.as_json(item)] if output == "json" else watching.as_lines(item)
            sys.stdout.write("\n".join(lines) + "\n")
            sys.stdout.flush()
            shown += 1
            if count and shown >= count:
                break
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    except BrokenPipeError:
        sys.stderr.close()
        raise typer.Exit from None
    except BadCapture as error:
        _end(f"{pcap}: {error}")
    except PermissionError as error:
        _end(
            f"{pcap or 'cannot listen'}: {error.strerror}: this needs root (CAP_NET_RAW)"
            if not pcap
            else str(error)
        )
    except OSError as error:
        _end(f"{pcap or interface}: {error.strerror}")


@app.command()
def status(
    output: Annotated[str, typer.Option("--output", "-o", help="text or json.")] = "text",
) -> None:
    """Show what confd wants, has written and BIRD runs; and of each session that is down, why it may be."""
    from pycalico.bgp import nodereport  # noqa: PLC0415

    if output not in ("text", "json"):
        _end(f"--output takes text or json, not {output!r}")
    report = nodereport.gather()
    sys.stdout.write(nodereport.as_json(report) if output == "json" else nodereport.as_text(report))
    raise typer.Exit(0 if report.healthy else 1)


def _end(why: str) -> None:
    print(f"pycalico bgp: {why}", file=sys.stderr)
    raise typer.Exit(1)
