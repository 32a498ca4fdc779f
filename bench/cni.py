"""ADD and DEL, whole plugin processes, ours (with the agent, and alone) and upstream's in turn.

First of one pod after the other, then of many at once. CPU is the plugin process's; the agent's own share is told below
the table. Each kind has a node of its own in the one cluster, as a node has one kind of plugin: on one node each would
find the block that it wrote last changed by the others, which no node does.
"""

import json
import os
import statistics
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from bench import timing, world

RUNS = 30
#: Rounds of pods added at once, and how many pods a round has.
ROUNDS, PODS, AT_ONCE = 3, 24, 8
SOCKET = Path("/run/calico/cni-agent.sock")


def main() -> None:
    if not world.inside("cni"):
        return
    kinds = {"agent": world.PROGRAMS, "alone": world.PROGRAMS}
    if world.UPSTREAM and (Path(world.UPSTREAM) / "calico").exists():
        kinds["upstream"] = Path(world.UPSTREAM)
    with world.World() as there:
        there.cluster()
        for kind in kinds:
            node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": f"bench-{kind}"}}
            there.ask("POST", "/api/v1/nodes", node)
        agent = subprocess.Popen(
            [world.PROGRAMS / "calico-cni-agent"], env=there.environ, stdout=subprocess.DEVNULL
        )
        while not SOCKET.exists():
            time.sleep(0.02)
        try:
            took = _run(there, kinds)
            cpu_s, rss_mb = _usage(agent.pid)
            rates = _at_once(there, kinds)
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
    print(f"ADDs/s, {AT_ONCE} at a time, median of {ROUNDS} rounds of {PODS} pods:")
    for kind, found in rates.items():
        share = f", {found / rates['upstream']:.1f} times upstream's" if "upstream" in rates else ""
        print(f"  {kind}: {found:.1f}{share}")


def _run(there: world.World, kinds: dict[str, Path]) -> dict[tuple[str, str], timing.Series]:
    took = {(kind, verb): timing.Series() for kind in kinds for verb in ("ADD", "DEL")}
    # A first call of each makes the block and warms the file cache; it does not count.
    for run in range(-1, RUNS):
        for kind, directory in kinds.items():
            pod = f"{kind}-{run}".replace("--", "-w")
            _pod(there, pod, kind)
            with _asked(kind):
                for verb in ("ADD", "DEL"):
                    series = took[kind, verb] if run >= 0 else timing.Series()
                    series.run([directory / "calico"], **_call(there, pod, verb, directory, kind))
            subprocess.run(["ip", "netns", "del", pod], check=True)
    return took


@contextmanager
def _asked(kind: str) -> Iterator[None]:
    """Without its socket the agent is not asked."""
    aside = SOCKET.with_name("aside")
    if kind == "alone":
        SOCKET.rename(aside)
    yield
    if kind == "alone":
        aside.rename(SOCKET)


def _at_once(there: world.World, kinds: dict[str, Path]) -> dict[str, float]:
    """ADDs per second of each kind, in turn; each round's pods are deleted before the next."""
    rates: dict[str, list[float]] = {kind: [] for kind in kinds}
    for turn in range(ROUNDS):
        for kind, directory in kinds.items():
            pods = [f"{kind}-many-{turn}-{number}" for number in range(PODS)]
            for pod in pods:
                _pod(there, pod, kind)
            with _asked(kind):
                began = time.perf_counter()
                _all(there, pods, "ADD", directory, kind)
                rates[kind].append(PODS / (time.perf_counter() - began))
                _all(there, pods, "DEL", directory, kind)
            for pod in pods:
                subprocess.run(["ip", "netns", "del", pod], check=True)
    return {kind: statistics.median(found) for kind, found in rates.items()}


def _all(there: world.World, pods: list[str], verb: str, directory: Path, kind: str) -> None:
    def call(pod: str) -> None:
        options = _call(there, pod, verb, directory, kind)
        subprocess.run([directory / "calico"], check=True, capture_output=True, **options)

    with ThreadPoolExecutor(AT_ONCE) as workers:
        list(workers.map(call, pods))


def _usage(pid: int) -> tuple[float, float]:
    """CPU seconds since its start, and resident megabytes."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    ticks = int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK"), int(fields[21]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def _pod(there: world.World, name: str, kind: str) -> None:
    body = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {"nodeName": f"bench-{kind}", "containers": [{"name": "c", "image": "x"}]},
    }
    there.ask("POST", "/api/v1/namespaces/default/pods", body)
    subprocess.run(["ip", "netns", "add", name], check=True)


def _call(there: world.World, pod: str, verb: str, directory: Path, kind: str) -> dict[str, object]:
    config = {
        "name": "k8s-pod-network", "cniVersion": "0.3.1", "type": "calico", "datastore_type": "kubernetes",
        "nodename": f"bench-{kind}", "mtu": 1400, "ipam": {"type": "calico-ipam"}, "policy": {"type": "k8s"},
        "kubernetes": {"kubeconfig": str(there.kubeconfig)},
    }  # fmt: skip
    env = {
        **there.environ, "CNI_COMMAND": verb, "CNI_CONTAINERID": f"c-{pod}", "CNI_NETNS": f"/run/netns/{pod}",
        "CNI_IFNAME": "eth0", "CNI_PATH": str(directory),
        "CNI_ARGS": f"IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME={pod}",
    }  # fmt: skip
    return {"input": json.dumps(config).encode(), "env": env}
