"""``calicoctl node status``: which of Calico's processes run here, and BIRD's sessions."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence

from pycalico.bgp import birdctl
from pycalico.calicoctl import grid
from pycalico.calicoctl.failure import Failure
from pycalico.calicoctl.node import root
from pycalico.calicoctl.syntax import Arguments

_HEADINGS = ("Peer address", "Peer type", "State", "Since", "Info")
#: By address family: the name of BIRD's process.
_BIRDS = {4: "bird", 6: "bird6"}


def run(_arguments: Arguments) -> None:
    """Raises Failure when Calico does not run, or BIRD's answer makes no sense."""
    root.require()
    running = list(_command_lines())
    if not _runs(running, ("calico-felix",)) and not _runs(running, ("calico-node", "-felix")):
        raise Failure("Calico process is not running.")
    print("Calico process is running.")
    families = [family for family, name in _BIRDS.items() if _runs(running, (name,))]
    if not families:
        print("\nThe BGP backend process (BIRD) is not running.\n")
        return
    for family, name in _BIRDS.items():
        if family in families:
            print(f"\nIPv{family} BGP status")
            sys.stdout.write(_sessions(family))
        else:
            print(f"\nINFO: BIRDv{family} process: '{name}' is not running.")
    print()


def _command_lines() -> Iterator[list[str]]:
    for entry in os.listdir("/proc"):  # noqa: PTH208
        if entry.isdigit():
            try:
                with open(f"/proc/{entry}/cmdline", "rb") as file:  # noqa: PTH123
                    yield file.read().decode(errors="replace").rstrip("\0").split("\0")
            except OSError:
                continue  # it has ended


def _runs(running: Sequence[Sequence[str]], argv: Sequence[str]) -> bool:
    """Whether a process has any of ``argv`` at its place, as upstream looks for it."""
    return any(have == want for line in running for have, want in zip(line, argv, strict=False))


def _sessions(family: int) -> str:
    try:
        peers = birdctl.peers(family)
    except birdctl.Unreachable as error:
        return f"Error querying BIRD: {error}"
    except birdctl.BirdError as error:
        raise Failure(f"Error executing command: {error}") from error
    if not peers:
        return f"No IPv{family} peers found.\n"
    rows = [[peer.address, peer.type, peer.state, peer.since, peer.info] for peer in peers]
    return grid.render(_HEADINGS, rows)
