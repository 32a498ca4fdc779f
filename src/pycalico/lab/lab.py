"""A lab from start to end: up, status, down, and a command in a node."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from pycalico.datastore.errors import DatastoreError
from pycalico.datastore.kubernetes import crds
from pycalico.lab import enter, frames, installation, node, plan, process, remote, scheduler, topology
from pycalico.lab.cluster import Cluster, Object
from pycalico.lab.errors import LabError
from pycalico.lab.kubelet import node_object
from pycalico.lab.namespaces import inside_network, join_network
from pycalico.lab.uml import Uml

_ROOT = Path("/run/pycalico")
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
#: A lab is given this long, by kernel: User-Mode Linux runs everything on one slow processor.
_PATIENCE_S = {"host": 120.0, "uml": 600.0}
_SOURCE_PAGE = """\
#!/bin/sh
printf 'Content-Type: text/plain\\r\\n\\r\\n%s\\n' "$REMOTE_ADDR"
"""

Say = Callable[[str], None]


class Lab:
    """The lab of a name, whether it is up or not."""

    def __init__(self, name: str = "pycalico") -> None:
        if not name.isascii() or not name.replace("-", "").isalnum() or len(name) > 20:
            raise LabError(f'"{name}" is no name for a lab: letters, digits and hyphens, at most 20')
        self.name = name
        self.directory = _ROOT / name

    # -- what is there ---------------------------------------------------------------------------------------------

    def uml(self) -> Uml | None:
        """The kernel the lab runs in, if it is not the machine's."""
        kernel = Uml(self.directory / "uml")
        return kernel if kernel.pid() is not None else None

    def is_up(self) -> bool:
        return self.uml() is not None or process.pid_of(self._mark("daemon")) is not None

    def cluster(self) -> Cluster:
        """A client of the lab's API. The caller is in, or has joined, the control plane's network."""
        pid = enter.node_pid(self.directory, plan.CONTROL_PLANE.name)
        return Cluster(Path(f"/proc/{pid}/root{enter.ADMIN_CONF}").read_bytes())

    # -- up --------------------------------------------------------------------------------------------------------

    def up(self, *, say: Say, kernel: str = "host", directory: Path | None = None) -> None:
        """Brings the lab up. Raises LabError after removing what was made; the caller's network is changed."""
        _check_machine(kernel)
        with self._alone():
            if self.is_up():
                raise AlreadyUp(f"lab {self.name} is up already: 'pycalico lab status' shows it, 'down' ends it")
            leftovers = topology.exists(self.name)
            if leftovers:
                raise LabError(
                    f"network namespace {leftovers[0]} exists already: run 'pycalico lab down --name {self.name}'"
                )
            try:
                if kernel == "uml":
                    self._up_in_uml(say, directory)
                else:
                    self._up_here(say, directory)
            except BaseException:
                self._remove()
                raise

    def _up_in_uml(self, say: Say, directory: Path | None) -> None:
        _compile_programs()
        uml = Uml(self.directory / "uml")
        uml.boot()
        say("User-Mode Linux kernel booted")
        argv = [sys.executable, "-m", "pycalico", "lab", "up", "--name", self.name, "--inside"]
        if directory is not None:
            argv += ["--manifests", str(directory)]
        code = remote.attach(uml, frames.Request(argv))
        if code != 0:
            raise LabError(f"the lab did not come up in the User-Mode Linux kernel (exit code {code})")

    def _up_here(self, say: Say, directory: Path | None) -> None:
        inside_uml = Path("/proc/cpuinfo").read_text().count("User Mode Linux") > 0
        deadline = time.monotonic() + _PATIENCE_S["uml" if inside_uml else "host"]
        if not inside_uml:
            _compile_programs()
        self.directory.mkdir(parents=True, exist_ok=True)
        topology.build(self.name)
        ipip = topology.kernel_has_ipip()
        say("network: a router, an outside and four nodes' links")
        pids = node.start(self.name, self.directory)
        for name, pid in pids.items():
            self._remember(name, pid)
        (self.directory / "nodes.json").write_text(json.dumps(pids))
        self._start_outside()
        self._start_daemon()
        say("nodes: a root, a host name and a process tree each")
        join_network(topology.path(self.name, plan.CONTROL_PLANE.name))
        cluster = self._api(deadline)
        say(f"API server: {cluster.rest.access.server}")
        if not ipip:
            say("this kernel has no ipip: the pool uses VXLAN (KERNEL=uml has IPIP)")
        missing = installation.missing_plugins()
        if missing:
            say(f"not on this machine, so not in the network list: {', '.join(missing)}")
        for item in crds.crds():
            cluster.apply(item)
        for item in installation.objects(ipip=ipip, probe_period_s=60 if inside_uml else 10, directory=directory):
            cluster.apply(item)
        say("cluster: definitions, configuration, agents")
        self._join(cluster, plan.NODES[:2], deadline)
        self._until(deadline, cluster, "the system pods get a node", lambda: _all_bound(cluster))
        self._join(cluster, plan.NODES[2:], deadline)
        self._until(deadline, cluster, "every agent is ready", lambda: _agents_ready(cluster))
        say("agents: ready on every node, BGP sessions established")
        self._until(deadline, cluster, "every pod is ready", lambda: _pods_ready(cluster))
        say("pods: running")

    def _join(self, cluster: Cluster, nodes: tuple[plan.Node, ...], deadline: float) -> None:
        for one in nodes:
            cluster.apply(node_object(one))
        names = {one.name for one in nodes}

        def ready() -> bool:
            return sum(scheduler.is_ready(n) for n in cluster.list("Node") if n["metadata"]["name"] in names) == len(names)

        self._until(deadline, cluster, f"{' and '.join(sorted(names))} become ready", ready)

    def _api(self, deadline: float) -> Cluster:
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError, DatastoreError):
                cluster = self.cluster()
                cluster.list("Namespace")
                return cluster
            if process.pid_of(self._mark("daemon")) is None:
                break
            time.sleep(0.1)
        raise LabError(f"the API server did not start: {self._last_line('daemon.log')}")

    def _until(self, deadline: float, cluster: Cluster, what: str, check: Callable[[], bool]) -> None:
        while time.monotonic() < deadline:
            with contextlib.suppress(DatastoreError):
                if check():
                    return
            if process.pid_of(self._mark("daemon")) is None:
                raise LabError(f"the lab's own process ended: {self._last_line('daemon.log')}")
            time.sleep(0.1)
        raise LabError(f"gave up waiting until {what}: {_trouble(cluster) or 'no pod says why'}")

    def _start_outside(self) -> None:
        pages = self.directory / "outside" / "cgi-bin"
        pages.mkdir(parents=True, exist_ok=True)
        (pages / "source").write_text(_SOURCE_PAGE)
        (pages / "source").chmod(0o755)
        listen = f"{plan.OUTSIDE_ADDRESS}:{plan.OUTSIDE_PORT}"
        command = ["busybox", "httpd", "-f", "-p", listen, "-h", str(pages.parent)]
        space = ["nsenter", f"--net={topology.path(self.name, plan.OUTSIDE)}", "unshare", "--pid", "--fork"]
        self._spawn("outside", [*space, "--kill-child", *command])

    def _start_daemon(self) -> None:
        self._spawn("daemon", [sys.executable, "-m", "pycalico.lab.daemon", str(self.directory), self.name])

    def _spawn(self, name: str, argv: list[str]) -> None:
        with (self.directory / f"{name}.log").open("wb") as log:
            started = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=enter.environment(),
                cwd="/",
                start_new_session=True,
            )
        self._remember(name, started.pid)

    # -- down ------------------------------------------------------------------------------------------------------

    def down(self) -> bool:
        """Removes everything the lab made; False when there was nothing. Safe to repeat."""
        if os.geteuid() != 0:
            raise LabError("network namespaces need root: run this as root")
        there = self.directory.exists() or bool(topology.exists(self.name))
        with self._alone():
            self._remove()
        return there

    def _remove(self) -> None:
        uml = Uml(self.directory / "uml")
        uml.stop()
        marks = sorted((self.directory / "marks").glob("*"), key=lambda path: path.name != "daemon")
        for path in marks:
            process.end(path.read_text(), grace_s=2.0 if path.name == "daemon" else 0.0)
        for pid in topology.processes(self.name):
            if pid != os.getpid():
                process.end(process.identity(pid))
        topology.remove(self.name)
        shutil.rmtree(self.directory, ignore_errors=True)

    # -- commands --------------------------------------------------------------------------------------------------

    def exec(self, name: str, argv: list[str]) -> int:
        """Runs a command in a node, joined to our own terminal or pipes; returns only for a lab in another kernel.

        ``pod/NAME`` or ``pod/NAMESPACE/NAME`` is a pod's network on its node.
        """
        name, argv = self._resolve(name, argv)
        uml = self.uml()
        if uml is not None:
            return remote.attach(uml, frames.Request(argv, str(self.directory), name))
        command = self.command(name, argv)
        sys.stdout.flush()
        os.execvpe(command[0], command, enter.environment())  # noqa: S606 - no shell is the point

    def command(self, name: str, argv: list[str]) -> list[str]:
        """Raises LabError."""
        if name in (plan.OUTSIDE, plan.ROUTER):
            return ["nsenter", f"--net={topology.path(self.name, name)}", "--", *argv]
        try:
            return enter.command(enter.node_pid(self.directory, name), argv)
        except enter.NoSuchNode as error:
            raise LabError(str(error)) from None

    def collect(self, name: str, argv: list[str], *, stdin: bytes = b"", timeout_s: float = 60.0) -> remote.Finished:
        """Runs a command in a node (or a pod's network) to its end. Raises LabError, TimeoutError."""
        name, argv = self._resolve(name, argv)
        uml = self.uml()
        if uml is not None:
            request = frames.Request(argv, str(self.directory), name)
            return remote.collect(uml, request, stdin, timeout_s)
        try:
            done = subprocess.run(
                self.command(name, argv),
                input=stdin,
                env=enter.environment(),
                capture_output=True,
                timeout=timeout_s,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise TimeoutError(f"{' '.join(argv)}: no end within {timeout_s:g} s") from None
        output, errors = (part.decode(errors="replace") for part in (done.stdout, done.stderr))
        return remote.Finished(done.returncode, output, errors)

    def _resolve(self, name: str, argv: list[str]) -> tuple[str, list[str]]:
        """A pod's node, and the command as it runs in the pod's network there."""
        if not name.startswith("pod/"):
            return name, argv
        namespace, _, pod = name.removeprefix("pod/").rpartition("/")
        fields = "{.metadata.uid} {.spec.nodeName} {.spec.hostNetwork}"
        query = ["kubectl", "get", "pod", pod, "-n", namespace or "default", "-o", f"jsonpath={fields}"]
        found = self.collect(plan.CONTROL_PLANE.name, query)
        if found.code != 0:
            raise LabError(found.errors.strip() or f"no pod {name}")
        words = found.output.split()
        if len(words) < 2:
            raise LabError(f"{name} is on no node yet: wait until it is scheduled")
        if len(words) > 2:
            return words[1], argv
        return words[1], ["ip", "netns", "exec", enter.pod_netns(words[0]), *argv]

    # -- small things ----------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Keeps a second ``up`` or ``down`` of the same lab out."""
        _ROOT.mkdir(parents=True, exist_ok=True)
        path = _ROOT / f".{self.name}.lock"
        with path.open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise LabError(f"another 'pycalico lab' works on lab {self.name}: wait until it is done") from None
            try:
                yield
            finally:
                if not self.directory.exists():
                    path.unlink(missing_ok=True)
                    with contextlib.suppress(OSError):
                        _ROOT.rmdir()

    def _remember(self, name: str, pid: int) -> None:
        marks = self.directory / "marks"
        marks.mkdir(parents=True, exist_ok=True)
        (marks / name).write_text(process.identity(pid))

    def _mark(self, name: str) -> str:
        try:
            return (self.directory / "marks" / name).read_text()
        except OSError:
            return ""

    def _last_line(self, log: str) -> str:
        try:
            lines = (self.directory / log).read_text(errors="replace").strip().splitlines()
        except OSError:
            lines = []
        return lines[-1] if lines else "it said nothing"


class AlreadyUp(LabError):
    """Nothing to do."""


def _check_machine(kernel: str) -> None:
    if kernel not in _PATIENCE_S:
        raise LabError(f'"{kernel}" is no kernel for the lab: use host or uml')
    if os.geteuid() != 0:
        raise LabError("network namespaces need root: run this as root")
    path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    missing = sorted({package for tool, package in _TOOLS.items() if not shutil.which(tool, path=path)})
    if missing:
        raise LabError(f"packages are missing: run 'apt-get install {' '.join(missing)}' as root")


def _compile_programs() -> None:
    """Byte code of the project and its libraries, since a node cannot keep what it compiles."""
    import site

    command = [sys.executable, "-m", "compileall", "-q", "-j", "0", str(Path(__file__).parents[1])]
    environ = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    subprocess.run([*command, *site.getsitepackages()], env=environ, capture_output=True, check=False)


def _all_bound(cluster: Cluster) -> bool:
    pods = [pod for pod in cluster.list("Pod", "kube-system") if not pod["spec"].get("hostNetwork")]
    wanted = sum(one["spec"].get("replicas", 1) for one in cluster.list("Deployment", "kube-system"))
    return len(pods) >= wanted and all(pod["spec"].get("nodeName") for pod in pods)


def _agents_ready(cluster: Cluster) -> bool:
    sets = cluster.list("DaemonSet", "kube-system")
    return all(one.get("status", {}).get("numberReady", 0) == len(plan.NODES) for one in sets)


def _pods_ready(cluster: Cluster) -> bool:
    return all(scheduler.is_ready(pod) for pod in cluster.list("Pod"))


def _trouble(cluster: Cluster) -> str:
    """What the first pod that does not run says."""
    with contextlib.suppress(DatastoreError):
        for pod in cluster.list("Pod"):
            said = _complaint(pod)
            if said:
                return said
    return ""


def _complaint(pod: Object) -> str:
    status = pod.get("status", {})
    for one in [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]:
        state = one.get("state", {})
        where = f"pod {pod['metadata']['name']} on {pod['spec'].get('nodeName', 'no node')}"
        if state.get("waiting", {}).get("message"):
            return f"{where}: {state['waiting']['message']}"
        if state.get("terminated", {}).get("exitCode"):
            return f"{where}: {one['name']} ended with code {state['terminated']['exitCode']}"
        if "running" in state and not one.get("ready"):
            return f"{where}: {one['name']} is not ready"
    return ""


def signal_exit() -> None:
    """Ctrl-C and SIGTERM during ``up`` undo it like any failure."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)


__all__ = ["AlreadyUp", "Lab", "inside_network", "signal_exit"]
