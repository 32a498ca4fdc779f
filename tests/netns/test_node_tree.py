"""Two nodes' whole service trees: an API server, runit, confd, BIRD, start-up and tunnel addresses, all real."""

import contextlib
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
                folder / "api",
                "--host",
                "10.91.0.254",
                "--kubeconfig",
                self.kubeconfig,
            ],
        )
        until(self.kubeconfig.exists)
        self.environ = {
            **os.environ,
            "DATASTORE_TYPE": "kubernetes",
            "KUBECONFIG": str(self.kubeconfig),
            "HOME": "/nonexistent",
        }

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

    def start(self, name, number):
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
        self.trees[name] = Tree(self, name, ns)
        return self.trees[name]

    def close(self):
        for tree in self.trees.values():
            tree.stop()
        self.server.terminate()
        self.server.wait(15)
        for name in self.namespaces:
            run("ip", "netns", "del", name, check=False)


class Tree:
    def __init__(self, cluster, name, ns):
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
        }
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

    def socket(self):
        return str(self.root / "run/calico/bird.ctl")

    def peers(self):
        # The socket's path is too long to be connected to; birdcl in the node is what people use.
        lines = self.enter("birdc", "-s", "/var/run/calico/bird.ctl", "show protocols", check=False).stdout
        return [line.split() for line in lines.splitlines() if line.startswith("Mesh_")]

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGHUP)
            self.process.wait(20)
        deadline = time.monotonic() + 10
        while left := run("ip", "netns", "pids", self.ns, check=False).stdout.split():
            assert time.monotonic() < deadline, f"left behind: {left}"
            time.sleep(0.1)
        self.log.close()


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
try:
    client.rest.create("/api/v1/namespaces/kube-system/serviceaccounts", account, dict)
except Exception as error:
    print(error)
"""

SHOW = """
import msgspec
from pycalico.api.v3.clusterinformation import ClusterInformation
from pycalico.api.v3.ippool import IPPool
from pycalico.api.v3.node import Node
from pycalico.datastore.open import open_client
client = open_client()
found = [client.list(kind).items for kind in (Node, IPPool, ClusterInformation)]
condition = [client.rest.get("/api/v1/nodes/" + n, dict)["status"].get("conditions") for n in ("w1", "w2")]
print(msgspec.json.encode([*found, condition]).decode())
"""


@pytest.fixture
def cluster(tmp_path):
    made = Cluster(tmp_path)
    try:
        made.inside(PREPARE)
        yield made
    finally:
        made.close()


def test_two_nodes_come_up_and_take_leave(cluster):
    w1, w2 = cluster.start("w1", 1), cluster.start("w2", 2)
    until(lambda: [peer[5] for peer in w1.peers() + w2.peers()] == ["Established", "Established"], 60)
    print(w1.processes())
    print(cluster.inside(SHOW).stdout)
    print(w1.enter("birdc", "-s", "/var/run/calico/bird.ctl", "show route").stdout)
