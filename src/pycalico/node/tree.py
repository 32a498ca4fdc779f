"""The tree of services on a node: which run, their run scripts, and becoming their supervisor.

``runsvdir`` starts a ``runsv`` per directory of /etc/service/enabled, which keeps its ``run`` script's process
alive. A HUP to runsvdir ends the tree in order: each service gets a TERM, and BIRD takes leave of its neighbours.
"""

from __future__ import annotations

import logging
import os
import shutil
import sys
from collections.abc import Mapping, MutableMapping
from pathlib import Path

from pycalico.bgp import daemon
from pycalico.node import nodename
from pycalico.node.fatal import Fatal

log = logging.getLogger(__name__)

ROOT = Path("/etc/service")
_TEMPLATES = Path(__file__).parent / "runit"
_BGP_SERVICES = ("bird", "bird6", "confd")


def services(environ: Mapping[str, str]) -> list[str]:
    """The services that the environment enables."""
    backend = environ.get("CALICO_NETWORKING_BACKEND", "")
    found = []
    if not environ.get("CALICO_DISABLE_FELIX"):
        found.append("felix")
    if backend != "none":
        found.append("monitor-addresses")
    found += ["allocate-tunnel-addrs", "node-status-reporter"]
    if backend not in ("none", "vxlan"):
        found += _BGP_SERVICES
    if environ.get("CALICO_MANAGE_CNI") != "false":
        found += ["cni", "cni-agent"]
    return found


def backend_of(environ: MutableMapping[str, str]) -> None:
    """Turns the old CALICO_NETWORKING into CALICO_NETWORKING_BACKEND, with a warning."""
    old = environ.get("CALICO_NETWORKING", "")
    if old:
        environ["CALICO_NETWORKING_BACKEND"] = "none" if old == "false" else "bird"
        print("WARNING: CALICO_NETWORKING will be deprecated: use CALICO_NETWORKING_BACKEND instead")


def lay_out(environ: Mapping[str, str], root: Path = ROOT) -> list[str]:
    """Writes ``available`` and fills ``enabled`` with what is to run; returns that. Raises OSError."""
    for name in _available():
        _install(name, root / "available", with_log=True)
    enabled = root / "enabled"
    wanted = services(environ)
    if enabled.is_dir():
        for stale in enabled.iterdir():
            if stale.name not in wanted:
                shutil.rmtree(stale)
    with_log = environ.get("CALICO_DISABLE_FILE_LOGGING", "").lower() != "true"
    for name in wanted:
        if not with_log:
            shutil.rmtree(enabled / name / "log", ignore_errors=True)
        _install(name, enabled, with_log=with_log)
    return wanted


def install_tools(directory: Path) -> None:
    """Puts the image's small commands (start_runit, versions, ...) there. Raises OSError."""
    directory.mkdir(parents=True, exist_ok=True)
    for tool in sorted((_TEMPLATES / "bin").iterdir()):
        _write_script(directory / tool.name, tool.read_text())


def _available() -> list[str]:
    return sorted(path.name for path in _TEMPLATES.iterdir() if (path / "run").is_file())


def _install(name: str, directory: Path, *, with_log: bool) -> None:
    target = directory / name
    target.mkdir(parents=True, exist_ok=True)
    if with_log:
        (target / "log").mkdir(exist_ok=True)
        _write_script(target / "log" / "run", _named("log.run", name))
    _write_script(target / "finish", _named("finish", name))
    _write_script(target / "run", (_TEMPLATES / name / "run").read_text())


def _named(template: str, service: str) -> str:
    return (_TEMPLATES / template).read_text().replace("@service@", service)


def _write_script(path: Path, text: str) -> None:
    staged = path.with_name(f".{path.name}.new")
    staged.write_text(text)
    staged.chmod(0o755)
    staged.replace(path)


def run(root: Path = ROOT) -> int:
    """Start-up, tunnel addresses, services; then this process becomes ``runsvdir``. Returns only on failure."""
    environ = os.environ
    _write_environment(environ)
    try:
        supervisor = _supervisor()
        _prepare(environ, root)
    except (Fatal, OSError) as error:
        print(error, file=sys.stderr)
        print("Calico node failed to start", file=sys.stderr)
        return 1
    print("Calico node started successfully", flush=True)
    return os.execv(supervisor, [supervisor, "-P", str(root / "enabled")])  # noqa: S606 - a fixed program, no shell


def _supervisor() -> str:
    found = shutil.which("runsvdir")
    if found is None:
        raise Fatal("runsvdir is not installed: install the package runit")
    return found


def _prepare(environ: MutableMapping[str, str], root: Path) -> None:
    from pycalico.node import startup, tunnels  # noqa: PLC0415 - gone again with the exec

    backend_of(environ)
    _find_ourselves(environ)
    # A process of its own would cost its start a second time; the exec below frees what these two took.
    if startup.run(environ) != 0:
        raise Fatal("calico-node -startup failed")
    path = nodename.path_of(environ)
    if not path.is_file():
        raise Fatal(f"{path} does not exist, exiting")
    environ["NODENAME"] = path.read_text()
    if tunnels.run(once=True, environ=environ) != 0:
        raise Fatal("calico-node -allocate-tunnel-addrs failed")
    _choose_route_writer(environ)
    environ["SVDIR"] = str(root / "enabled")
    # Services have few threads; an arena for each would cost each of them megabytes.
    environ.setdefault("MALLOC_ARENA_MAX", "1")
    backend = environ.get("CALICO_NETWORKING_BACKEND", "")
    if backend == "none":
        print("CALICO_NETWORKING_BACKEND is none - no BGP daemon running")
    elif backend == "vxlan":
        print("CALICO_NETWORKING_BACKEND is vxlan - no need to run a BGP daemon")
    lay_out(environ, root)


def _choose_route_writer(environ: MutableMapping[str, str]) -> None:
    """Felix writes the routes to other nodes' blocks where the installed BIRD cannot write those of tunnels.

    Without a BIRD, or with an unknown one, the rest still comes up: policy, and those routes.
    """
    if not set(_BGP_SERVICES).intersection(services(environ)):
        return
    try:
        if daemon.felix_writes_routes(environ):
            environ["FELIX_PROGRAMCLUSTERROUTES"] = "Enabled"
    except (daemon.Missing, daemon.Refused) as error:
        print(f"ERROR: no BGP: {error}", flush=True)
        environ["FELIX_PROGRAMCLUSTERROUTES"] = "Enabled"


def _find_ourselves(environ: MutableMapping[str, str]) -> None:
    """Run scripts call ``calico-node`` by name: it is found beside this interpreter also outside an image."""
    directory = str(Path(sys.executable).parent)
    path = environ.get("PATH", os.defpath)
    if (Path(directory) / "calico-node").exists() and directory not in path.split(":"):
        environ["PATH"] = f"{directory}:{path}"


def _write_environment(environ: Mapping[str, str]) -> None:
    """What the container was started with, for people who look; it may hold credentials."""
    try:
        path = Path("/etc/envvars")
        path.touch(mode=0o600, exist_ok=True)
        path.write_text("".join(f"{key}={value}\n" for key, value in environ.items()))
    except OSError as error:
        log.warning("cannot write /etc/envvars: %s", error)
