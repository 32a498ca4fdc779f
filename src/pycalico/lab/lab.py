"""A lab from start to end: up, status, down, and a command in a node."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from pycalico.lab import bringup, enter, frames, plan, preparation, process, remote, topology
from pycalico.lab.cluster import Cluster
from pycalico.lab.errors import LabError
from pycalico.lab.uml import Uml

_ROOT = Path("/run/pycalico")
Say = Callable[[str], None]


class AlreadyUp(LabError):
    """Nothing to do."""


class Lab:
    """The lab of a name, whether it is up or not."""

    def __init__(self, name: str = plan.NAME) -> None:
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
        return self.uml() is not None or process.pid_of(self.mark("daemon")) is not None

    def cluster(self) -> Cluster:
        """A client of the lab's API. The caller is in, or has joined, the control plane's network."""
        pid = enter.node_pid(self.directory, plan.CONTROL_PLANE.name)
        return Cluster(Path(f"/proc/{pid}/root{enter.ADMIN_CONF}").read_bytes())

    # -- up --------------------------------------------------------------------------------------------------------

    def up(self, *, say: Say, kernel: str = "host", directory: Path | None = None) -> None:
        """Brings the lab up. Raises LabError after removing what was made; the caller's network is changed."""
        preparation.check(kernel)
        with self._alone():
            if self.is_up():
                raise AlreadyUp(
                    f"lab {self.name} is up already: 'pycalico lab status' shows it, 'down' ends it"
                )
            leftovers = topology.exists(self.name)
            if leftovers:
                raise LabError(
                    f"network namespace {leftovers[0]} exists already: run 'pycalico lab down --name {self.name}'"
                )
            try:
                if kernel == "uml":
                    self._up_in_uml(say, directory)
                else:
                    bringup.BringUp(self, say, directory).run()
            except BaseException:
                self._remove()
                raise

    def _up_in_uml(self, say: Say, directory: Path | None) -> None:
        preparation.compile_programs()
        uml = Uml(self.directory / "uml")
        uml.boot()
        say("User-Mode Linux kernel booted")
        argv = [sys.executable, "-m", "pycalico", "lab", "up", "--name", self.name, "--inside"]
        if directory is not None:
            argv += ["--manifests", str(directory)]
        code = remote.attach(uml, frames.Request(argv))
        if code != 0:
            raise LabError(f"the lab did not come up in the User-Mode Linux kernel (exit code {code})")

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
        return 0  # not reached; execvpe does not return

    def command(self, name: str, argv: list[str]) -> list[str]:
        """Raises LabError."""
        if name in (plan.OUTSIDE, plan.ROUTER):
            return ["nsenter", f"--net={topology.path(self.name, name)}", "--", *argv]
        try:
            return enter.command(enter.node_pid(self.directory, name), argv)
        except enter.NoSuchNode as error:
            raise LabError(str(error)) from None

    def collect(
        self, name: str, argv: list[str], *, stdin: bytes = b"", timeout_s: float = 60.0
    ) -> remote.Finished:
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
                raise LabError(
                    f"another 'pycalico lab' works on lab {self.name}: wait until it is done"
                ) from None
            try:
                yield
            finally:
                if not self.directory.exists():
                    path.unlink(missing_ok=True)
                    with contextlib.suppress(OSError):
                        _ROOT.rmdir()

    def remember(self, name: str, pid: int) -> None:
        marks = self.directory / "marks"
        marks.mkdir(parents=True, exist_ok=True)
        (marks / name).write_text(process.identity(pid))

    def mark(self, name: str) -> str:
        try:
            return (self.directory / "marks" / name).read_text()
        except OSError:
            return ""

    def last_line(self, log: str) -> str:
        try:
            lines = (self.directory / log).read_text(errors="replace").strip().splitlines()
        except OSError:
            lines = []
        return lines[-1] if lines else "it said nothing"
