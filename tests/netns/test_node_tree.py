"""Two nodes' whole service trees: an API server, runit, confd, BIRD, start-up and tunnel addresses, all real."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pycalico.bgp import birdctl

pytestmark = pytest.mark.netns

#: A root of its own, the machine's underneath: what a node writes to /etc, /var and /run stays with it.
SANDBOX = """
set -e
mount --make-rprivate /
mount -t tmpfs tmpfs "$1"
mkdir "$1/upper" "$1/work" "$1/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" "$1/root"
for part in proc sys dev; do mount --rbind "/$part" "$1/root/$part"; done
for part in $2; do mkdir -p "$1/root$part"; mount --rbind "$part" "$1/root$part"; done
rm -rf "$1/root/run" "$1/root/var/run"; mkdir -p "$1/root/run"; ln -s /run "$1/root/var/run"
mkdir -p "$1/root/host/etc/cni/net.d"
root="$1/root"; shift 2
exec chroot "$root" "$@"
"""


def run(*words, check=True):
    return subprocess.run([str(word) for word in words], check=check, capture_output=True, text=True)


def until(what, seconds=30.0):
    deadline = time.monotonic() + seconds
    while True:
        with contextlib.suppress(birdctl.BirdError, OSError):
            found = what()
            if found:
                return found
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.2)


class Cluster:
    def __init__(self, folder):
        self.folder = folder
        self.prefix = f"nt{os.getpid() % 100000}x"
        self.bridge = f"{self.prefix}b"
        self.namespaces = []
        self.trees = {}
        self._namespace(self.bridge)
        run("ip", "-n", self.bridge, "link", "add", "br0", "type", "bridge")
        run("ip", "-n", self.bridge, "addr", "add", "10.91.0.254/24", "dev", "br0")
        run("ip", "-n", self.bridge, "link", "set", "br0", "up")
        self.kubeconfig = folder / "kubeconfig"
        self.server = None
        self.environ = {
            **os.environ,
            "DATASTORE_TYPE": "kubernetes",
            "KUBECONFIG": str(self.kubeconfig),
            "HOME": "/nonexistent",
        }

    def start_server(self):
        self.serve()
        until(self.kubeconfig.exists)

    def serve(self):
        program = Path(sys.executable).with_name("pycalico")
        self.server = subprocess.Popen(
            [
                "ip",
                "netns",
                "exec",
                self.bridge,
                program,
                "apiserver",
                "--data",
                self.folder / "api",
                "--host",
                "10.91.0.254",
                "--kubeconfig",
                self.kubeconfig,
            ],
        )

    def inside(self, *words):
        """Runs Python in the servers' namespace, where the API is."""
        return subprocess.run(
            ["ip", "netns", "exec", self.bridge, sys.executable, "-c", *words],
            env=self.environ,
            check=True,
            capture_output=True,
            text=True,
        )

    def _namespace(self, name):
        run("ip", "netns", "add", name)
        self.namespaces.append(name)
        run("ip", "-n", name, "link", "set", "lo", "up")

    def start(self, name, number, address6="", **environ):
        """``environ``: variables of this node alone; "" takes one away."""
        ns = f"{self.prefix}{number}"
        self._namespace(ns)
        port = f"{self.prefix}p{number}"
        run(
            "ip",
            "link",
            "add",
            port,
            "netns",
            self.bridge,
            "type",
            "veth",
            "peer",
            "name",
            "eth0",
            "netns",
            ns,
        )
        run("ip", "-n", self.bridge, "link", "set", port, "master", "br0", "up")
        run("ip", "-n", ns, "addr", "add", f"10.91.0.{number}/24", "dev", "eth0")
        run("ip", "-n", ns, "link", "set", "eth0", "up")
        if address6:
            run("ip", "-n", ns, "addr", "add", address6, "dev", "eth0", "nodad")
        self.trees[name] = Tree(self, name, ns, environ)
        return self.trees[name]

    def close(self):
        for tree in self.trees.values():
            tree.stop()
        if self.server:
            self.server.terminate()
            self.server.wait(15)
        for name in self.namespaces:
            run("ip", "netns", "del", name, check=False)


class Tree:
    def __init__(self, cluster, name, ns, more):
        self.cluster, self.name, self.ns = cluster, name, ns
        self.folder = cluster.folder / name
        self.folder.mkdir()
        self.log = (cluster.folder / f"{name}.log").open("w")
        environ = {
            **cluster.environ,
            "NODENAME": name,
            "IP": "autodetect",
            "CLUSTER_TYPE": "k8s,bgp",
            "CALICO_NETWORKING_BACKEND": "bird",
            "CALICO_IPV4POOL_CIDR": "172.16.0.0/16",
            "CALICO_IPV4POOL_BLOCK_SIZE": "24",
            "CALICO_IPV4POOL_IPIP": "Always",
            "CALICO_DISABLE_FILE_LOGGING": "true",
            "CALICO_DISABLE_FELIX": "true",
            "WAIT_FOR_DATASTORE": "true",
            "FELIX_IPV6SUPPORT": "false",
            **more,
        }
        environ = {key: value for key, value in environ.items() if value}
        shared = " ".join(sorted({str(cluster.folder), sys.prefix, str(Path(__file__).parents[2])}))
        self.process = subprocess.Popen(
            [
                "ip",
                "netns",
                "exec",
                ns,
                "unshare",
                "-m",
                "sh",
                "-c",
                SANDBOX,
                "sh",
                self.folder,
                shared,
                Path(sys.executable).with_name("pycalico"),
                "node",
                "run",
            ],
            env=environ,
            stdout=self.log,
            stderr=self.log,
            start_new_session=True,
        )
        self.root = Path(f"/proc/{self.process.pid}/root")

    def enter(self, *words, check=True):
        return run(
            "nsenter",
            f"--target={self.process.pid}",
            "--mount",
            "--net",
            f"--root={self.root}",
            *words,
            check=check,
        )

    def processes(self):
        """The command lines of everything in the node's network namespace."""
        found = {}
        for pid in run("ip", "netns", "pids", self.ns).stdout.split():
            with contextlib.suppress(OSError):
                found[int(pid)] = Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0").decode().split("\0")
        return found

    def birdc(self, command):
        """The answer of the node's own BIRD, as people read it."""
        return self.enter("birdc", "-s", "/var/run/calico/bird.ctl", command, check=False).stdout

    def calico_node(self, *flags):
        program = Path(sys.executable).with_name("calico-node")
        return self.enter(program, *flags, check=False)

    def peers(self):
        return [
            line.split() for line in self.birdc("show protocols").splitlines() if line.startswith("Mesh_")
        ]

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGHUP)
            self.process.wait(20)
        deadline = time.monotonic() + 10
        while left := run("ip", "netns", "pids", self.ns, check=False).stdout.split():
            assert time.monotonic() < deadline, f"left behind: {left}"
            time.sleep(0.1)
        self.log.close()


def resident_mib(tree):
    total = 0
    for pid in tree.processes():
        with contextlib.suppress(OSError):
            total += int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return total / 2**20


PREPARE = """
from pycalico.datastore.kubernetes.crds import crds
from pycalico.datastore.kubernetes.rest import path_of
from pycalico.datastore.open import open_client
client = open_client()
for crd in crds():
    client.rest.create(path_of("apiextensions.k8s.io/v1", "customresourcedefinitions"), crd, dict)
for name in ("w1", "w2"):
    node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}}
    client.rest.create(path_of("v1", "nodes"), node, dict)
account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "calico-cni-plugin"}}
client.rest.create("/api/v1/namespaces/kube-system/serviceaccounts", account, dict)
"""

#: What of the cluster a test looks at, as JSON.
SHOW = """
import msgspec
from pycalico.api.v3.clusterinformation import ClusterInformation
from pycalico.api.v3.ippool import IPPool
from pycalico.api.v3.node import Node
from pycalico.datastore.open import open_client
client = open_client()
nodes = {node.metadata.name: node.spec for node in client.list(Node).items}
conditions = client.rest.get("/api/v1/nodes/w1", dict)["status"]["conditions"]
print(msgspec.json.encode([
    nodes, client.get(IPPool, "default-ipv4-ippool").spec, client.get(ClusterInformation, "default").spec, conditions,
]).decode())
"""

THIRD = """
from pycalico.datastore.open import open_client
from pycalico.datastore.errors import Unavailable
node = {"apiVersion": "v1", "kind": "Node",
        "metadata": {"name": "w3", "annotations": {"projectcalico.org/IPv4Address": "10.91.0.3/24"}}}
try:
    open_client().rest.create("/api/v1/nodes", node, dict)
    print(3)
except Unavailable:
    pass
"""

TREE = {
    "calico-node -confd",
    "calico-node -monitor-addresses",
    "calico-node -allocate-tunnel-addrs",
    "calico-node -status-reporter",
    "calico-node -monitor-token",
    "calico-cni-agent",
    "bird -R -s /var/run/calico/bird.ctl -d -c /etc/calico/confd/config/bird.cfg",
    "bird6 -R -s /var/run/calico/bird6.ctl -d -c /etc/calico/confd/config/bird6.cfg",
    *(
        f"runsv {name}"
        for name in (
            "confd",
            "bird",
            "bird6",
            "cni",
            "cni-agent",
            "monitor-addresses",
            "allocate-tunnel-addrs",
            "node-status-reporter",
        )
    ),
}


@pytest.fixture
def cluster(tmp_path):
    made = Cluster(tmp_path)
    try:
        made.start_server()
        made.inside(PREPARE)
        yield made
    finally:
        made.close()


def test_two_nodes_come_up_and_one_takes_leave(cluster):
    w1, w2 = cluster.start("w1", 1), cluster.start("w2", 2)
    until(lambda: [peer[5] for peer in w1.peers() + w2.peers()] == ["Established", "Established"], 60)

    shown = {" ".join(words) for words in until(w1.processes).values()}
    assert {line for line in shown if not line.endswith("runsvdir -P /etc/service/enabled")} == TREE
    nodes, pool, information, conditions = json.loads(cluster.inside(SHOW).stdout)
    for name, number in (("w1", 1), ("w2", 2)):
        assert nodes[name]["bgp"]["ipv4Address"] == f"10.91.0.{number}/24"
        assert nodes[name]["bgp"]["ipv4IPIPTunnelAddr"].endswith(".0"), "the first address of an empty block"
    assert pool["cidr"] == "172.16.0.0/16"
    assert (pool["ipipMode"], pool["blockSize"]) == ("Always", 24)
    assert information["clusterType"] == "k8s,bgp,kdd"
    [condition] = [item for item in conditions if item["type"] == "NetworkUnavailable"]
    assert (condition["status"], condition["reason"]) == ("False", "CalicoIsUp")
    assert (w1.root / "var/lib/calico/nodename").read_text() == "w1"
    kubeconfig = until((w1.root / "host/etc/cni/net.d/calico-kubeconfig").stat)
    assert kubeconfig.st_mode & 0o777 == 0o600

    block = nodes["w2"]["bgp"]["ipv4IPIPTunnelAddr"] + "/24"
    routes = birdctl.parse_routes("1007-" + line for line in w1.birdc("show route").splitlines())
    [remote] = [route for route in routes if route.destination == block]
    assert (remote.gateway, remote.protocol) == ("10.91.0.2", "Mesh_10_91_0_2")
    assert "172.16." not in w1.enter("ip", "route").stdout

    live = w1.calico_node("-bird-live", "-bird-ready", "-bird6-live", "-bird6-ready")
    assert live.returncode == 0, live.stdout
    dead = w1.calico_node("-felix-live")
    assert dead.returncode == 1
    assert dead.stdout == (
        'calico/node is not ready: Felix is not live: Get "http://localhost:9099/liveness":'
        " dial tcp 127.0.0.1:9099: connect: connection refused\n"
    )

    told = w1.enter(Path(sys.executable).with_name("pycalico"), "bgp", "status", check=False)
    assert told.returncode == 0, told.stdout
    assert "10.91.0.2 (node-to-node mesh) Established" in told.stdout

    # All but Felix, whose size depends on the cluster's; `python -m bench node` has the whole.
    assert resident_mib(w1) < 150

    # A BIRD that hangs is not live, and is not waited for.
    [pid] = [pid for pid, found in w1.processes().items() if found[:2] == ["bird", "-R"]]
    os.kill(pid, signal.SIGSTOP)
    began = time.monotonic()
    hung = w1.calico_node("-bird-live")
    os.kill(pid, signal.SIGCONT)
    assert (hung.returncode, hung.stdout) == (
        1,
        "calico/node is not ready: bird is not live: timed out reading from BIRD\n",
    )
    assert time.monotonic() - began < 6

    # A killed confd and a killed BIRD come back by themselves.
    for service, words in (("confd", ["calico-node", "-confd"]), ("bird", ["bird", "-R"])):
        [pid] = [pid for pid, found in w1.processes().items() if found[:2] == words]
        os.kill(pid, signal.SIGKILL)
        until(lambda: [p for p, found in w1.processes().items() if found[:2] == words and p != pid])  # noqa: B023
        assert f"service {service} ended: signal 9" in (cluster.folder / "w1.log").read_text()
    until(lambda: [peer[5] for peer in w1.peers()] == ["Established"])

    # With the API away everything stays as it is; what happened meanwhile is caught up with.
    cluster.server.kill()
    cluster.server.wait()
    time.sleep(1)
    assert [peer[5] for peer in w1.peers()] == ["Established"]
    cluster.serve()
    until(lambda: "3" in cluster.inside(THIRD).stdout)
    until(lambda: len(w1.peers()) == 2)

    w2.stop()
    until(lambda: "Received: Administrative shutdown" in (cluster.folder / "w1.log").read_text())
