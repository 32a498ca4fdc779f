"""``calicoctl node diags``: collects logs and the state of the network into one archive."""

from __future__ import annotations

import re
import shutil
import subprocess
import tarfile
import tempfile
import time
from pathlib import Path

import msgspec

from pycalico.calicoctl.failure import Failure
from pycalico.calicoctl.node import root
from pycalico.calicoctl.syntax import Arguments


class Source(msgspec.Struct, frozen=True):
    """A command whose output goes to ``file``; ``instead`` is tried when it fails."""

    heading: str
    command: str
    file: str
    instead: str = ""


_SOURCES = (
    Source("", "date", "date"),
    Source("", "hostname", "hostname"),
    Source("Dumping netstat", "netstat -a -n", "netstat", "ss -a -n"),
    Source("Dumping routes (IPv4)", "ip -4 route", "ipv4_route"),
    Source("Dumping routes (IPv6)", "ip -6 route", "ipv6_route"),
    Source("Dumping interface info (IPv4)", "ip -4 addr", "ipv4_addr"),
    Source("Dumping interface info (IPv6)", "ip -6 addr", "ipv6_addr"),
    Source("Dumping iptables (IPv4)", "iptables-save -c", "ipv4_tables"),
    Source("Dumping iptables (IPv6)", "ip6tables-save -c", "ipv6_tables"),
    Source("Dumping ipsets", "ipset list", "ipsets"),
    Source(
        "Dumping ipsets (container)",
        "docker run --rm --privileged --net=host calico/node ipset list",
        "ipset_container",
    ),
    Source(
        "Copying journal for calico-node.service",
        "journalctl -u calico-node.service --no-pager",
        "journalctl_calico_node",
    ),
)
_TIMEOUT_S = 60.0
_INFRASTRUCTURE = re.compile(r"k8s_POD")


def run(arguments: Arguments) -> None:
    """What cannot be collected is told and left out. Raises Failure when there is nowhere to collect it."""
    root.require()
    print("Collecting diagnostics")
    try:
        folder = Path(tempfile.mkdtemp(prefix="calico"))
    except OSError as error:
        raise Failure(f"Error creating temp directory to dump logs: {error}") from error
    print(f"Using temp dir: {folder}")
    collected = folder / "diagnostics"
    collected.mkdir()
    for source in _SOURCES:
        _collect(source, collected)
    _copy_logs(Path(arguments.text("--log-dir")), collected / "logs")
    _container_logs(collected / "logs")
    archive = folder / f"diags-{time.strftime('%Y%m%d_%H%M%S')}.tar.gz"
    try:
        with tarfile.open(archive, "w:gz") as tar:
            tar.add(collected, "diagnostics")
    except OSError as error:
        raise Failure(f"Error compressing the diagnostics: {error}") from error
    print(f"\nDiags saved to {archive}")
    print("If required, you can upload the diagnostics bundle to a file sharing service.")


def _collect(source: Source, folder: Path) -> None:
    if source.heading:
        print(source.heading, flush=True)
    good, output = _run(source.command)
    if good:
        (folder / source.file).write_bytes(output)
        return
    _complain(source.command, output)
    if source.instead:
        good, output = _run(source.instead)
        if not good:
            _complain(source.instead, output)
        (folder / source.instead.split()[0]).write_bytes(output)


def _run(command: str) -> tuple[bool, bytes]:
    """Whether it succeeded, and what it said."""
    try:
        done = subprocess.run(
            command.split(),
            check=False,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=_TIMEOUT_S,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return False, str(error).encode()
    return done.returncode == 0, done.stdout


def _complain(command: str, output: bytes) -> None:
    print(f"Failed to run command: {command}\nError: {output.decode(errors='replace')}")


def _copy_logs(source: Path, target: Path) -> None:
    if source.exists() and not source.is_dir():
        print(f"No logs found in {source}; skipping log copying")
        return
    if source.is_dir():
        print("Copying Calico logs")
    try:
        shutil.copytree(source, target, symlinks=True)
    except (OSError, shutil.Error) as error:
        print(f"Error copying log files: {error}")


def _container_logs(folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    good, output = _run("docker ps -a --filter name=calico --format {{.Names}}:{{.CreatedAt}}")
    if not good:
        print(f"Could not run docker command: {output.decode(errors='replace')}")
        return
    lines = [
        line for line in output.decode(errors="replace").splitlines() if not _INFRASTRUCTURE.search(line)
    ]
    if not lines:
        return
    print("Copying logs from Calico containers")
    (folder / "container_creation_time").write_text("\n".join(lines) + "\n", encoding="utf-8")
    for line in lines:
        name = line.partition(":")[0]
        good, output = _run(f"docker logs {name}")
        if good:
            (folder / f"{name}.log").write_bytes(output)
        else:
            print(f"Could not pull log for container {name}: {output.decode(errors='replace')}")
