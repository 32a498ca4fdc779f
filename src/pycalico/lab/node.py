"""Nodes as namespaces: each has its network, its root file system, its host name and its process tree."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

from pycalico.lab import enter, plan, process, topology
from pycalico.lab.errors import LabError

_START_S = 20.0
#: File systems that describe a running kernel, or live in memory; every node gets fresh ones.
_PSEUDO = frozenset(
    [
        "proc",
        "sysfs",
        "devtmpfs",
        "devpts",
        "tmpfs",
        "cgroup",
        "cgroup2",
        "mqueue",
        "bpf",
        "debugfs",
        "tracefs",
        "securityfs",
        "pstore",
        "efivarfs",
        "configfs",
        "fusectl",
        "hugetlbfs",
        "autofs",
        "binfmt_misc",
        "nsfs",
        "overlay",
        "ramfs",
        "rpc_pipefs",
    ]
)
_FRESH = ("/proc", "/sys", "/dev", "/run", "/tmp", "/mnt")  # noqa: S108 - mount points, no files


def start(lab: str, directory: Path) -> dict[str, int]:
    """Starts every node of the plan; returns the pid of each one's first process. Raises LabError."""
    mounts = _machine_mounts()
    started: dict[str, subprocess.Popen[bytes]] = {}
    for node in plan.NODES:
        store = directory / "nodes" / node.name
        store.mkdir(parents=True, exist_ok=True)
        argv = [
            *("nsenter", f"--net={topology.path(lab, node.name)}"),
            *("unshare", "--mount", "--uts", "--ipc", "--pid", "--fork", "--kill-child"),
            *("sh", str(Path(__file__).with_name("node.sh")), node.name, str(store), *mounts),
        ]
        with (directory / f"{node.name}.log").open("wb") as log:
            started[node.name] = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/", start_new_session=True
            )
    return {name: _first_process(name, holder, directory) for name, holder in started.items()}


def write_file(pid: int, target: str, content: str) -> None:
    """Puts a file into the node's own root, readable by root alone."""
    done = subprocess.run(
        enter.command(pid, ["sh", "-c", 'umask 077; mkdir -p "${1%/*}"; cat >"$1"', "write", target]),
        input=content.encode(),
        capture_output=True,
        check=False,
    )
    if done.returncode != 0:
        raise LabError(f"cannot write {target} in a node: {done.stderr.decode(errors='replace').strip()}")


def _first_process(name: str, holder: subprocess.Popen[bytes], directory: Path) -> int:
    log = directory / f"{name}.log"
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline:
        said = log.read_text(errors="replace")
        inner = process.children(holder.pid)
        if said.rstrip().endswith("ready") and inner:
            return inner[0]
        if holder.poll() is not None:
            break
        time.sleep(0.01)
    said = log.read_text(errors="replace").strip().replace("\n", "; ")
    raise LabError(f"node {name} did not start: {said or 'no answer'}")


def _machine_mounts() -> list[str]:
    """Mount points of further real file systems, for instance a separate /home or a mounted project directory."""
    points: list[str] = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        before, _, after = line.partition(" - ")
        point, kind = before.split()[4].encode().decode("unicode_escape"), after.split()[0]
        fresh = any(point == top or point.startswith(f"{top}/") for top in _FRESH)
        inside = any(point.startswith(f"{outer}/") for outer in points)
        if point != "/" and kind not in _PSEUDO and not fresh and not inside and Path(point).is_dir():
            points.append(point)
    return points
