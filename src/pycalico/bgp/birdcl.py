"""The program ``birdcl``: BIRD's light client, which Debian's package lacks. Asks one thing, or reads commands.

Its default socket is that of the node's BIRD, so that ``birdcl show route`` in a node is enough.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Iterable, Iterator, Sequence

from pycalico.bgp.birdctl import SOCKETS, BirdError, Control

_TIMEOUT_S = 10.0


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="birdcl", description="Talk to a running BIRD.")
    parser.add_argument(
        "-s", dest="socket", default="", metavar="FILE", help=f"control socket (default: {SOCKETS[4][0]})"
    )
    parser.add_argument("-6", dest="six", action="store_true", help="talk to the BIRD of IPv6")
    parser.add_argument("-r", dest="restrict", action="store_true", help="only look, change nothing")
    parser.add_argument("-v", dest="codes", action="store_true", help="show the codes of the answer's lines")
    parser.add_argument(
        "command", nargs=argparse.REMAINDER, help="what to ask; without it, commands are read"
    )
    options = parser.parse_args(arguments)
    try:
        with Control(6 if options.six else 4, options.socket, _TIMEOUT_S) as control:
            print(f"BIRD {control.greeting.removeprefix('BIRD ')}")
            if options.restrict:
                control.ask("restrict")
            for command in [" ".join(options.command)] if options.command else _typed():
                if command in ("quit", "exit"):
                    break
                for line in shown(control.ask(command), codes=options.codes):
                    print(line)
    except BirdError as error:
        sys.exit(f"birdcl: {error}")
    except BrokenPipeError:
        sys.exit(1)


def _typed() -> Iterator[str]:
    """The lines of standard input; a person is prompted."""
    while True:
        try:
            line = (input("bird> ") if sys.stdin.isatty() else input()).strip()
        except (EOFError, KeyboardInterrupt):
            with contextlib.suppress(BrokenPipeError):
                print()
            return
        if line:
            yield line


def shown(lines: Iterable[str], *, codes: bool = False) -> Iterator[str]:
    """The answer without its codes; the empty line that ends a table is none of it."""
    for line in lines:
        if codes:
            yield line
        elif line[:4].isdigit():
            if line[5:]:
                yield line[5:]
        else:
            yield line[1:]
