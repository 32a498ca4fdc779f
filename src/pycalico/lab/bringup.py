"""Bringing a lab up on this kernel, phase by phase."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from pycalico.datastore.errors import DatastoreError
from pycalico.datastore.kubernetes import crds
from pycalico.lab import enter, installation, node, plan, preparation, process, scheduler, topology
from pycalico.lab.cluster import Cluster, Object
from pycalico.lab.errors import LabError
from pycalico.lab.kubelet import node_object
from pycalico.lab.namespaces import join_network

if TYPE_CHECKING:
    from pycalico.lab.lab import Lab, Say

_SOURCE_PAGE = """\
#!/bin/sh
printf 'Content-Type: text/plain\\r\\n\\r\\n%s\\n' "$REMOTE_ADDR"
"""


class BringUp:
    """One attempt. Raises LabError; the lab removes what was made."""

    def __init__(self, lab: Lab, say: Say, manifests: Path | None) -> None:
        self._lab = lab
        self._say = say
        self._manifests = manifests

    def run(self) -> None:
        inside_uml = Path("/proc/cpuinfo").read_text().count("User Mode Linux") > 0
        deadline = time.monotonic() + preparation.PATIENCE_S["uml" if inside_uml else "host"]
        if not inside_uml:
            preparation.compile_programs()
        self._lab.directory.mkdir(parents=True, exist_ok=True)
        topology.build(self._lab.name)
        ipip = topology.kernel_has_ipip()
        self._say("network: a router, an outside and four nodes' links")
        pids = node.start(self._lab.name, self._lab.directory)
        for name, pid in pids.items():
            self._lab.remember(name, pid)
        (self._lab.directory / "nodes.json").write_text(json.dumps(pids))
        self._start_outside()
        self._start_daemon()
        self._say("nodes: a root, a host name and a process tree each")
        join_network(topology.path(self._lab.name, plan.CONTROL_PLANE.name))
        cluster = self._api(deadline)
        self._say(f"API server: {cluster.rest.access.server}")
        if not ipip:
            self._say("this kernel has no ipip: the pool uses VXLAN (KERNEL=uml has IPIP)")
        missing = installation.missing_plugins()
        if missing:
            self._say(f"not on this machine, so not in the network list: {', '.join(missing)}")
        for item in crds.crds():
            cluster.apply(item)
        for item in installation.objects(
            ipip=ipip, probe_period_s=60 if inside_uml else 10, directory=self._manifests
        ):
            cluster.apply(item)
        self._say("cluster: definitions, configuration, agents")
        self._join(cluster, plan.NODES[:2], deadline)
        self._until(deadline, cluster, "the system pods get a node", lambda: _all_bound(cluster))
        self._join(cluster, plan.NODES[2:], deadline)
        self._until(deadline, cluster, "every agent is ready", lambda: _agents_ready(cluster))
        self._say("agents: ready on every node, BGP sessions established")
        self._until(deadline, cluster, "every pod is ready", lambda: _pods_ready(cluster))
        self._say("pods: running")

    def _join(self, cluster: Cluster, nodes: tuple[plan.Node, ...], deadline: float) -> None:
        for one in nodes:
            cluster.apply(node_object(one))
        names = {one.name for one in nodes}

        def ready() -> bool:
            return sum(
                scheduler.is_ready(n) for n in cluster.list("Node") if n["metadata"]["name"] in names
            ) == len(names)

        self._until(deadline, cluster, f"{' and '.join(sorted(names))} become ready", ready)

    def _api(self, deadline: float) -> Cluster:
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError, DatastoreError):
                cluster = self._lab.cluster()
                cluster.list("Namespace")
                return cluster
            if process.pid_of(self._lab.mark("daemon")) is None:
                break
            time.sleep(0.1)
        raise LabError(f"the API server did not start: {self._lab.last_line('daemon.log')}")

    def _until(self, deadline: float, cluster: Cluster, what: str, check: Callable[[], bool]) -> None:
        while time.monotonic() < deadline:
            with contextlib.suppress(DatastoreError):
                if check():
                    return
            if process.pid_of(self._lab.mark("daemon")) is None:
                raise LabError(f"the lab's own process ended: {self._lab.last_line('daemon.log')}")
            time.sleep(0.1)
        raise LabError(f"gave up waiting until {what}: {_trouble(cluster) or 'no pod says why'}")

    def _start_outside(self) -> None:
        pages = self._lab.directory / "outside" / "cgi-bin"
        pages.mkdir(parents=True, exist_ok=True)
        (pages / "source").write_text(_SOURCE_PAGE)
        (pages / "source").chmod(0o755)
        listen = f"{plan.OUTSIDE_ADDRESS}:{plan.OUTSIDE_PORT}"
        command = ["busybox", "httpd", "-f", "-p", listen, "-h", str(pages.parent)]
        space = [
            "nsenter",
            f"--net={topology.path(self._lab.name, plan.OUTSIDE)}",
            "unshare",
            "--pid",
            "--fork",
        ]
        self._spawn("outside", [*space, "--kill-child", *command])

    def _start_daemon(self) -> None:
        self._spawn(
            "daemon", [sys.executable, "-m", "pycalico.lab.daemon", str(self._lab.directory), self._lab.name]
        )

    def _spawn(self, name: str, argv: list[str]) -> None:
        with (self._lab.directory / f"{name}.log").open("wb") as log:
            started = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=enter.environment(),
                cwd="/",
                start_new_session=True,
            )
        self._lab.remember(name, started.pid)


def _all_bound(cluster: Cluster) -> bool:
    """The pods of Deployments: those of DaemonSets come with the nodes."""
    pods = [
        pod
        for pod in cluster.list("Pod", "kube-system")
        if any(owner["kind"] == "ReplicaSet" for owner in pod["metadata"].get("ownerReferences", []))
    ]
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
