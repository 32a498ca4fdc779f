"""A whole node of 50 pods: every service of the tree, what they take when idle, and how soon they are there."""

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "netns"))

from test_node_tree import PREPARE, Cluster, until

PODS = int(os.environ.get("BENCH_PODS", "50"))
IDLE_S = float(os.environ.get("BENCH_IDLE_SECONDS", "30"))
#: VXLAN, since every kernel has it.
SETTINGS = {
    "CALICO_DISABLE_FELIX": "",
    "FELIX_HEALTHENABLED": "true",
    "CALICO_IPV4POOL_IPIP": "Never",
    "CALICO_IPV4POOL_VXLAN": "Always",
}
MOST_MIB, MOST_CPU_PERCENT, MOST_UP_S = 200, 1.0, 3.0

#: Pods with their interfaces, as the plugin leaves them; the API knows them as running.
MAKE_PODS = """
import subprocess, sys
from pycalico.api import names
from pycalico.datastore.open import open_client
rest = open_client().rest
lines = []
for number in range(int(sys.argv[1])):
    name = f"pod-{number}"
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "default", "labels": {"app": f"a{number % 5}"}},
           "spec": {"nodeName": "w1", "serviceAccountName": "default", "containers": [{"name": "c", "image": "busybox"}]}}
    made = rest.create("/api/v1/namespaces/default/pods", pod, dict)
    made["status"] = {"phase": "Running", "podIP": f"172.16.77.{number + 1}", "podIPs": [{"ip": f"172.16.77.{number + 1}"}],
                      "conditions": [{"type": "Ready", "status": "True"}]}
    rest.replace(f"/api/v1/namespaces/default/pods/{name}/status", made, dict)
    lines.append(names.interface("default", name))
print(*lines)
"""

BLOCKS = """
import json
from pycalico.api.v3.ipam import BlockAffinity
from pycalico.datastore.open import open_client
print(json.dumps([[item.spec.node, item.spec.cidr] for item in open_client().list(BlockAffinity).items]))
"""


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="pycalico-bench-", dir="/tmp") as folder:
        cluster = Cluster(Path(folder))
        try:
            measure(cluster)
        finally:
            cluster.close()


def measure(cluster):
    cluster.start_server()
    cluster.inside(PREPARE)
    other = cluster.start("w2", 2, **SETTINGS)
    tree = cluster.start("w1", 1, **SETTINGS)
    began = time.monotonic()
    until(lambda: services(tree) >= 7, 60)
    present_s = time.monotonic() - began
    until(lambda: tree.calico_node("-felix-live", "-bird-live").returncode == 0, 60)
    live_s = time.monotonic() - began
    until(lambda: [peer[5] for peer in tree.peers()] == ["Established"], 60)
    routes_s = time.monotonic() - began
    links = cluster.inside(MAKE_PODS, str(PODS)).stdout.split()
    for number, link in enumerate(links):
        tree.enter("ip", "link", "add", link, "type", "veth", "peer", "name", f"pod{number}")
        tree.enter("ip", "link", "set", link, "up")
        tree.enter("ip", "link", "set", f"pod{number}", "up")
    # Each pod has its chains in the kernel, whichever of the two iptables Felix has chosen.
    saved = ("iptables-legacy-save", "iptables-nft-save")
    until(lambda: any(f"cali-tw-{links[-1]}" in tree.enter(program).stdout for program in saved), 60)
    time.sleep(10)
    rows = memory(tree)
    for name, rss, pss in sorted(rows, key=lambda row: -row[1]):
        print(f"{name[:52]:54}{rss:7.1f} MiB RSS {pss:7.1f} MiB PSS")
    rss, pss = sum(row[1] for row in rows), sum(row[2] for row in rows)
    before, began = ticks(tree), time.monotonic()
    time.sleep(IDLE_S)
    percent = (ticks(tree) - before) / os.sysconf("SC_CLK_TCK") / (time.monotonic() - began) * 100
    print(f"{PODS} pods: {rss:.0f} MiB RSS in all ({pss:.0f} MiB PSS), limit {MOST_MIB}")
    print(f"idle: {percent:.2f} % of a core, limit {MOST_CPU_PERCENT}")
    print(
        f"all processes there after {present_s:.1f} s (limit {MOST_UP_S:g}), Felix and BIRD live after {live_s:.1f} s,"
        f" sessions up after {routes_s:.1f} s"
    )

    stream(cluster, tree, other)


def stream(cluster, tree, other):
    """100 packets a second between addresses of the two nodes' blocks, while services of one are restarted."""
    blocks = dict(json.loads(cluster.inside(BLOCKS).stdout))
    ends = {node: blocks[node].replace(".0/24", ".9") for node in ("w1", "w2")}
    for node, place in (("w1", tree), ("w2", other)):
        place.enter("ip", "addr", "add", f"{ends[node]}/32", "dev", "lo")
    words = ("ping", "-n", "-i", "0.01", "-I", ends["w1"], ends["w2"])
    until(lambda: tree.enter(*words, "-c", "1", "-W", "1", check=False).returncode == 0, 30)
    for service in ("felix", "confd"):
        ping = subprocess.Popen(
            ["ip", "netns", "exec", tree.ns, *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        time.sleep(0.5)
        tree.enter("sv", "-w", "10", "restart", f"/etc/service/enabled/{service}")
        time.sleep(4)
        ping.send_signal(2)
        said = ping.communicate(timeout=10)[0]
        sent, received = map(int, re.search(r"(\d+) packets transmitted, (\d+) received", said).groups())
        print(f"stream of 100/s, {service} restarted: {sent - received} of {sent} packets lost")


def services(tree):
    """How many of the Python services show the names they keep."""
    return sum(words[0].startswith("calico-") for words in tree.processes().values())


def memory(tree):
    rows = []
    for pid, words in tree.processes().items():
        try:
            text = Path(f"/proc/{pid}/smaps_rollup").read_text()
        except OSError:
            continue
        found = {
            key: sum(int(line.split()[1]) for line in text.splitlines() if line.startswith(key + ":"))
            for key in ("Rss", "Pss")
        }
        rows.append((" ".join(words), found["Rss"] / 1024, found["Pss"] / 1024))
    return rows


def ticks(tree):
    """User and system time of all processes, their ended children's included."""
    total = 0
    for pid in tree.processes():
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        total += sum(int(fields[at]) for at in (11, 12, 13, 14))
    return total
