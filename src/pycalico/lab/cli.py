"""``pycalico lab``: a thin skin over the lab."""

from __future__ import annotations

import signal
import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from pycalico.lab import frames, plan, remote
from pycalico.lab.errors import LabError
from pycalico.lab.uml import Uml

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="The four-node cluster of the walkthrough, in network namespaces on this machine.",
)

Name = Annotated[str, typer.Option(help="Name of the lab; labs of different names live side by side.")]
_PASS = {"allow_interspersed_args": False, "ignore_unknown_options": True}


@app.command()
def up(
    name: Name = plan.NAME,
    kernel: Annotated[
        str, typer.Option(help="host, or uml for a User-Mode Linux kernel with IPIP.")
    ] = "host",
    manifests: Annotated[
        Path | None, typer.Option(help="Directory of YAML to install instead of the lab's own.")
    ] = None,
    inside: Annotated[bool, typer.Option("--inside", hidden=True)] = False,
) -> None:
    """Bring the cluster up and leave it running."""
    from pycalico.lab import lab as labs  # noqa: PLC0415 - a command loads what it needs
    from pycalico.lab import report  # noqa: PLC0415

    console = report.console()
    began = time.monotonic()

    def say(text: str) -> None:
        console.print(f"[{time.monotonic() - began:5.1f} s] {text}", markup=False)

    with _one_line():
        lab = labs.Lab(name)
        # SIGTERM undoes a half-made lab as Ctrl-C does.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        try:
            lab.up(say=say, kernel=kernel, directory=manifests)
        except labs.AlreadyUp as already:
            console.print(str(already), markup=False)
            return
        except KeyboardInterrupt:
            raise LabError("interrupted; what was made has been removed") from None
        if kernel == "host":
            report.show(console, lab, lab.cluster())
        if not inside:
            say("up")


@app.command()
def down(name: Name = plan.NAME) -> None:
    """Remove every namespace, link, process and file of the lab."""
    from pycalico.lab.lab import Lab  # noqa: PLC0415

    with _one_line():
        there = Lab(name).down()
        print(f"lab {name} is down" if there else f"lab {name} was not up")


@app.command()
def status(name: Name = plan.NAME) -> None:
    """Show nodes, BGP sessions and pods."""
    from pycalico.lab import report, topology  # noqa: PLC0415
    from pycalico.lab.lab import Lab  # noqa: PLC0415
    from pycalico.lab.namespaces import join_network  # noqa: PLC0415

    with _one_line():
        lab = Lab(name)
        if not lab.is_up():
            raise LabError(f"lab {name} is not up: run 'make lab' first")
        uml = lab.uml()
        if uml is not None:
            argv = [sys.executable, "-m", "pycalico", "lab", "status", "--name", name]
            raise typer.Exit(remote.attach(uml, frames.Request(argv)))
        join_network(topology.path(name, plan.CONTROL_PLANE.name))
        report.show(report.console(), lab, lab.cluster())


@app.command(context_settings=_PASS)
def exec(  # noqa: A001 - the verb of kubectl
    node: Annotated[
        str, typer.Argument(help="k8s-m, k8s-w0, k8s-w1, k8s-w2, router, outside, or pod/[NAMESPACE/]NAME.")
    ],
    command: Annotated[list[str], typer.Argument(help="-- and the command to run there.")],
    name: Name = plan.NAME,
) -> None:
    """Run a command in a node."""
    from pycalico.lab.lab import Lab  # noqa: PLC0415

    with _one_line():
        lab = Lab(name)
        if not lab.is_up():
            raise LabError(f"lab {name} is not up: run 'make lab' first")
        raise typer.Exit(lab.exec(node, command[1:] if command[0] == "--" else command))


@app.command(context_settings=_PASS)
def uml(
    command: Annotated[list[str], typer.Argument(help="-- and the command to run inside.")],
    memory: Annotated[int, typer.Option(help="Memory of the kernel in MB.")] = 3072,
) -> None:
    """Boot a User-Mode Linux kernel, run a command inside as root, and end it with the command's exit code."""
    import tempfile  # noqa: PLC0415

    with _one_line(), tempfile.TemporaryDirectory(prefix="pycalico-uml-") as directory:
        kernel = Uml(Path(directory) / "kernel")
        kernel.boot(memory_mb=memory)
        try:
            code = remote.attach(kernel, frames.Request(command[1:] if command[0] == "--" else command))
        finally:
            kernel.stop()
        raise typer.Exit(code)


@app.command()
def walkthrough(
    name: Name = plan.NAME,
    write: Annotated[Path | None, typer.Option(help="File to write the transcript to.")] = None,
) -> None:
    """Run the walkthrough's commands against a lab that is up, and check what they print."""
    from pycalico.lab import walkthrough as walk  # noqa: PLC0415 - a command loads what it needs
    from pycalico.lab.lab import Lab  # noqa: PLC0415

    with _one_line():
        lab = Lab(name)
        if not lab.is_up():
            raise LabError(f"lab {name} is not up: run 'make lab' first")
        kernel = "uml" if lab.uml() is not None else "host"
        outcomes = []
        for outcome in walk.run(lab, patience=walk.PATIENCE[kernel]):
            outcomes.append(outcome)
            print(
                f"{'ok  ' if not outcome.problems else 'FAIL'} {outcome.step.node}: {outcome.command}",
                flush=True,
            )
            for problem in outcome.problems:
                print(f"     {problem}", file=sys.stderr)
        wrong = sum(bool(outcome.problems) for outcome in outcomes)
        if wrong:
            raise LabError(f"{wrong} of {len(outcomes)} commands did not print what they must")
        if write is not None:
            walk.write(write, walk.render(outcomes, kernel=kernel))
            print(f"wrote {write}")


class _one_line:  # noqa: N801 - reads as a statement
    """Turns a LabError into one line on stderr and exit code 1."""

    def __enter__(self) -> None: ...

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, LabError):
            print(f"lab: {error}", file=sys.stderr)
            raise typer.Exit(1)
