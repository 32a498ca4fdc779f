"""The installed BIRD: what it can do, and whether it accepts a configuration."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

PROGRAMS = {4: "bird", 6: "bird6"}
_TIMEOUT_S = 20.0
_TUNNEL_PROBE = 'router id 192.0.2.1;\nfilter probe { krt_tunnel = "tunl0"; accept; }\nprotocol device { }\n'


class Refused(Exception):
    """BIRD does not accept a configuration; its own words, in one line."""


class Missing(Exception):
    """There is no BIRD to ask; one line."""


def check(family: int, main_file: Path) -> None:
    """Has BIRD read ``main_file`` and what it includes. Raises Refused and Missing."""
    program = PROGRAMS[family]
    try:
        run = subprocess.run(
            [program, "-p", "-c", str(main_file)],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_TIMEOUT_S,
            check=False,
        )
    except FileNotFoundError as error:
        raise Missing(f"{program} is not installed: install the package bird") from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Refused(f"{program} -p: {error}") from error
    if run.returncode != 0:
        said = " / ".join((run.stderr or run.stdout).split("\n")[:3]).strip(" /")
        raise Refused(said or f"{program} -p ended with {run.returncode}")


def knows_tunnels() -> bool:
    """Whether the installed BIRD has upstream's ``krt_tunnel``. Raises Missing."""
    with tempfile.TemporaryDirectory(prefix="bird-probe-") as directory:
        probe = Path(directory, "bird.cfg")
        probe.write_text(_TUNNEL_PROBE)
        try:
            check(4, probe)
        except Refused:
            return False
        return True


def felix_writes_routes(environ: Mapping[str, str]) -> bool:
    """Whether the routes to other nodes' blocks are Felix's to write (its parameter ProgramClusterRoutes).

    They are if the environment says so, and where the installed BIRD could not write them. Start-up and confd
    both ask here, so that one of the two writes them and never both. Raises Missing.
    """
    return environ.get("FELIX_PROGRAMCLUSTERROUTES", "").lower() == "enabled" or not knows_tunnels()
