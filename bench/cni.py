"""ADD and DEL of one pod after the other, whole plugin processes, ours and upstream's in turn."""

import json
import subprocess
from pathlib import Path

from bench import timing, world

RUNS = 30


def main() -> None:
    if not world.inside("cni"):
        return
    plugins = {"ours": world.PROGRAMS}
    if world.UPSTREAM and (Path(world.UPSTREAM) / "calico").exists():
        plugins["upstream"] = Path(world.UPSTREAM)
    with world.World() as there:
        there.cluster()
        took = {(who, verb): timing.Series() for who in plugins for verb in ("ADD", "DEL")}
        # A first call of each makes the block and warms the file cache; it does not count.
        for run in range(-1, RUNS):
            for who, directory in plugins.items():
                pod = f"{who}-{run}".replace("--", "-w")
                _pod(there, pod)
                for verb in ("ADD", "DEL"):
                    series = took[who, verb] if run >= 0 else timing.Series()
                    series.run([directory / "calico"], **_call(there, pod, verb, directory))
                subprocess.run(["ip", "netns", "del", pod], check=True)
        timing.show(
            f"CNI, {RUNS} pods one after the other: median (p90)",
            [(verb, took["ours", verb], took.get(("upstream", verb))) for verb in ("ADD", "DEL")],
        )


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
