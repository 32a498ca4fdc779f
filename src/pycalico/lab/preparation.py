"""Before a lab: what the machine must have, said in one line where it has not."""

from __future__ import annotations

import os
import shutil
import site
import subprocess
import sys
from pathlib import Path

from pycalico.lab.errors import LabError

_TOOLS = {
    "ip": "iproute2",
    "nsenter": "util-linux",
    "busybox": "busybox-static",
    "bird": "bird",
    "birdc": "bird",
    "runsvdir": "runit",
    "iptables": "iptables",
    "ipset": "ipset",
    "ethtool": "ethtool",
}
#: How long a lab may take to come up, by kernel: User-Mode Linux runs everything on one slow processor.
PATIENCE_S = {"host": 120.0, "uml": 600.0}


def check(kernel: str) -> None:
    if kernel not in PATIENCE_S:
        raise LabError(f'"{kernel}" is no kernel for the lab: use host or uml')
    if os.geteuid() != 0:
        raise LabError("network namespaces need root: run this as root")
    path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    missing = sorted({package for tool, package in _TOOLS.items() if not shutil.which(tool, path=path)})
    if missing:
        raise LabError(f"packages are missing: run 'apt-get install {' '.join(missing)}' as root")


def compile_programs() -> None:
    """Byte code of the project and its libraries, since a node cannot keep what it compiles."""
    command = [sys.executable, "-m", "compileall", "-q", "-j", "0", str(Path(__file__).parents[1])]
    environ = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    subprocess.run([*command, *site.getsitepackages()], env=environ, capture_output=True, check=False)
