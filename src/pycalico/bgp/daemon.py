"""The installed BIRD: what it can do, and whether it accepts a configuration."""

from __future__ import annotations

import enum
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

PROGRAMS = {4: "bird", 6: "bird6"}
_TIMEOUT_S = 20.0


class Flavour(enum.Enum):
    """What the installed BIRD understands; the value is a configuration that it alone of the three accepts."""

    PATCHED = 'router id 192.0.2.1;\nfilter probe { krt_tunnel = "tunl0"; accept; }\nprotocol device { }\n'
    BIRD_2 = "router id 192.0.2.1;\nprotocol static { ipv4; }\nprotocol device { }\n"
    BIRD_1 = "router id 192.0.2.1;\nlisten bgp port 179;\nprotocol device { }\n"


class Refused(Exception):
    """BIRD does not accept a configuration; its own words, in one line."""


class Missing(Exception):
    """There is no BIRD to ask; one line."""


def check(family: int, main_file: Path) -> None:
    """Has BIRD read ``main_file`` and what it includes. Raises Refused and Missing."""
    program = PROGRAMS[family]
    if family == 6 and (flavour() is Flavour.BIRD_2 or shutil.which(program) is None):
        # One program of BIRD 2 speaks for both families; each still has a process and a file of its own.
        program = PROGRAMS[4]
    _read(program, main_file)


def _read(program: str, main_file: Path) -> None:
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
    except OSError as error:
        raise Refused(f"cannot run {program} -p: {error.strerror}") from error
    except subprocess.TimeoutExpired as error:
        raise Refused(f"{program} -p: {error}") from error
    if run.returncode != 0:
        said = " / ".join((run.stderr or run.stdout).split("\n")[:3]).strip(" /")
        raise Refused(said or f"{program} -p ended with {run.returncode}")


def flavour() -> Flavour:
    """Tries out the ``bird`` on PATH, anew when it has been replaced. Raises Missing, and Refused for an unknown one."""
    found = shutil.which(PROGRAMS[4])
    if found is None:
        raise Missing(f"{PROGRAMS[4]} is not installed: install the package bird or bird2")
    return _flavour_of(found, Path(found).stat().st_mtime_ns)


@lru_cache(maxsize=4)
def _flavour_of(program: str, _changed_ns: int) -> Flavour:
    said = ""
    with tempfile.TemporaryDirectory(prefix="bird-probe-") as directory:
        probe = Path(directory, "bird.cfg")
        for candidate in Flavour:
            probe.write_text(candidate.value)
            try:
                _read(program, probe)
            except Refused as error:
                said = str(error)
            else:
                return candidate
    raise Refused(f"{program} is no BIRD 1.6, 2 or Calico's: it refuses what each of them accepts ({said})")


def felix_writes_routes(environ: Mapping[str, str]) -> bool:
    """Whether the routes to other nodes' blocks are Felix's to write (its parameter ProgramClusterRoutes).

    They are if the environment says so, and where the installed BIRD could not write them. Start-up and confd
    both ask here, so that one of the two writes them and never both. Raises Missing and
    Refused (there is no BIRD, or none that is known).
    """
    enabled = environ.get("FELIX_PROGRAMCLUSTERROUTES", "").lower() == "enabled"
    return flavour() is not Flavour.PATCHED or enabled
