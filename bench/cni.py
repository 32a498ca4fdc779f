"""ADD and DEL of one pod after the other, whole plugin processes, ours (with the agent, and alone) and upstream's in turn.

CPU is the plugin process's; the agent's own share is told below the table.
"""

import json
import os
import subprocess
import time
from pathlib import Path

from bench import timing, world

RUNS = 30
SOCKET = Path("/run/calico/cni-agent.sock")


def main() -> None:
    if not world.inside("cni"):
        return
    kinds = {"agent": world.PROGRAMS, "alone": world.PROGRAMS}
    if world.UPSTREAM and (Path(world.UPSTREAM) / "calico").exists():
        kinds["upstream"] = Path(world.UPSTREAM)
    with world.World() as there:
        there.cluster()
        agent = subprocess.Popen(
            [world.PROGRAMS / "calico-cni-agent"], env=there.environ, stdout=subprocess.DEVNULL
        )
        while not SOCKET.exists():
            time.sleep(0.02)
        try:
            took = _run(there, kinds)
            cpu_s, rss_mb = _usage(agent.pid)
        finally:
            agent.terminate()
            agent.wait(10)
    rows = [
        (f"{verb}, {kind}", took[kind, verb], took.get(("upstream", verb)))
        for kind in ("agent", "alone")
        for verb in ("ADD", "DEL")
    ]
    timing.show(f"CNI, {RUNS} pods one after the other: median (p90)", rows)
    print(f"agent: {cpu_s / (RUNS + 1) * 1000:.0f} ms of CPU per pod (ADD and DEL), {rss_mb:.0f} MB")


def _run(there: world.World, kinds: dict[str, Path]) -> dict[tuple[str, str], timing.Series]:
    took = {(kind, verb): timing.Series() for kind in kinds for verb in ("ADD", "DEL")}
    # A first call of each makes the block and warms the file cache; it does not count.
    for run in range(-1, RUNS):
        for kind, directory in kinds.items():
            pod = f"{kind}-{run}".replace("--", "-w")
            _pod(there, pod)
            # Without its socket the agent is not asked.
            aside = SOCKET.with_name("aside")
            if kind == "alone":
                SOCKET.rename(aside)
            for verb in ("ADD", "DEL"):
                series = took[kind, verb] if run >= 0 else timing.Series()
                series.run([directory / "calico"], **_call(there, pod, verb, directory))
            if kind == "alone":
                aside.rename(SOCKET)
            subprocess.run(["ip", "netns", "del", pod], check=True)
    return took


def _usage(pid: int) -> tuple[float, float]:
    """CPU seconds since its start, and resident megabytes."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    ticks = int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK"), int(fields[21]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def _pod(there: world.World, name: str) -> None:
    body = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {"nodeName": "bench", "containers": [{"name": "c", "image": "x"}]},
    }
    there.ask("POST", "/api/v1/namespaces/default/pods", body)
    subprocess.run(["ip", "netns", "add", name], check=True)


def _call(there: world.World, pod: str, verb: str, directory: Path) -> dict[str, object]:
    config = {
        "name": "k8s-pod-network", "cniVersion": "0.3.1", "type": "calico", "datastore_type": "kubernetes",
        "nodename": "bench", "mtu": 1400, "ipam": {"type": "calico-ipam"}, "policy": {"type": "k8s"},
        "kubernetes": {"kubeconfig": str(there.kubeconfig)},
    }  # fmt: skip
    env = {
        **there.environ, "CNI_COMMAND": verb, "CNI_CONTAINERID": f"c-{pod}", "CNI_NETNS": f"/run/netns/{pod}",
        "CNI_IFNAME": "eth0", "CNI_PATH": str(directory),
        "CNI_ARGS": f"IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME={pod}",
    }  # fmt: skip
    return {"input": json.dumps(config).encode(), "env": env}
