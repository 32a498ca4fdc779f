"""This node's name, and the file through which start-up tells it to everything else."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Mapping
from pathlib import Path

from pycalico.node.fatal import Fatal

log = logging.getLogger(__name__)

FILE = Path("/var/lib/calico/nodename")


def path_of(environ: Mapping[str, str]) -> Path:
    return Path(environ.get("CALICO_NODENAME_FILE", "") or FILE)


def determine(environ: Mapping[str, str]) -> str:
    """NODENAME as it is; else the file's; else HOSTNAME or the system's name, in lower case."""
    name = environ.get("NODENAME", "").strip()
    if name:
        return name
    try:
        name = path_of(environ).read_text().strip()
    except OSError:
        name = ""
    return name or environ.get("HOSTNAME", "").strip().lower() or socket.gethostname().strip().lower()


def required(environ: Mapping[str, str]) -> str:
    """What services go by: NODENAME. Raises Fatal."""
    name = environ.get("NODENAME", "").strip()
    if not name:
        raise Fatal(f"NODENAME is not set: start-up writes it to {FILE}, and the service tree passes it on")
    return name


def write(name: str, environ: Mapping[str, str]) -> None:
    """Without a newline: readers take the whole file. Raises OSError."""
    path = path_of(environ)
    path.parent.mkdir(parents=True, exist_ok=True)
    # Written whole beside it: the CNI plugin may read at any moment.
    staged = path.with_name(f".{path.name}.{os.getpid()}")
    staged.write_text(name)
    staged.chmod(0o644)
    staged.replace(path)
