"""The lab's own process: API server's keeper, control plane and kubelets, in the control-plane node's network.

``python -m pycalico.lab.daemon STATE_DIR LAB``; ended by SIGTERM. Everything it starts lives in a node's pid namespace.
"""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
import time
from pathlib import Path

from pycalico.base import log
from pycalico.lab import enter, plan, topology
from pycalico.lab.cluster import Cache, Cluster
from pycalico.lab.control import Control
from pycalico.lab.kubelet import Kubelet
from pycalico.lab.machine import Machine
from pycalico.lab.namespaces import join_network
from pycalico.lab.proxy import Proxy

_log = logging.getLogger(__name__)
_API_DATA = "/var/lib/pycalico/apiserver"


def main() -> None:
    state_dir, lab = Path(sys.argv[1]), sys.argv[2]
    log.configure("lab")
    machines = {node.name: Machine(node.name, enter.node_pid(state_dir, node.name)) for node in plan.NODES}
    # Before any thread starts: a thread would stay in the old namespace.
    join_network(topology.path(lab, plan.CONTROL_PLANE.name))
    threading.Thread(target=_keep_api_server, args=(machines[plan.CONTROL_PLANE.name],), daemon=True).start()
    cluster = Cluster(_kubeconfig(machines))
    kubelets: list[Kubelet] = []
    control_wake, proxy_wake = threading.Event(), threading.Event()

    def changed() -> None:
        control_wake.set()
        for kubelet in kubelets:
            kubelet.wake.set()

    def service_changed() -> None:
        control_wake.set()
        proxy_wake.set()

    pods, nodes = Cache(cluster, "Pod", changed), Cache(cluster, "Node", changed)
    kubelets += [Kubelet(node, machines[node.name], cluster, pods, nodes) for node in plan.NODES]
    services, slices = (Cache(cluster, kind, service_changed) for kind in ("Service", "EndpointSlice"))
    Proxy(machines.values(), services, slices, proxy_wake)
    Control(cluster, pods, nodes, services, slices, control_wake).run()


def _keep_api_server(machine: Machine) -> None:
    """Starts the API server again whenever it has ended, as a kubelet does with a static pod."""
    command = ["pycalico", "apiserver", "--data", _API_DATA, "--host", plan.CONTROL_PLANE.address]
    command += ["--port", str(plan.API_PORT), "--kubeconfig", enter.ADMIN_CONF]
    command += ["--audit-log-path", "/var/log/apiserver-audit.log"]
    machine.file("/var/lib/pycalico").mkdir(parents=True, exist_ok=True)
    while True:
        with machine.file("/var/log/apiserver.log").open("ab") as output:
            server = subprocess.Popen(
                enter.command(machine.pid, command),
                env=enter.environment(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        _log.warning("the API server ended with code %d; starting it again", server.wait())
        time.sleep(0.2)


def _kubeconfig(machines: dict[str, Machine]) -> bytes:
    """Waits for the API server's kubeconfig and gives each node a copy."""
    source = machines[plan.CONTROL_PLANE.name].file(enter.ADMIN_CONF)
    while not (source.exists() and source.stat().st_size):
        time.sleep(0.05)
    content = source.read_bytes()
    for name, machine in machines.items():
        if name != plan.CONTROL_PLANE.name:
            copy = machine.file(enter.ADMIN_CONF)
            copy.touch(mode=0o600)
            copy.write_bytes(content)
    return content


if __name__ == "__main__":
    main()
