"""A place to measure in: network and mount namespaces of its own with an API server that has Calico's definitions."""

import json
import os
import re
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

PROGRAMS = Path(sys.executable).parent
UPSTREAM = os.environ.get("UPSTREAM_BIN", "")
_INSIDE = "BENCH_INSIDE"


def is_inside() -> bool:
    return bool(os.environ.get(_INSIDE))


def inside(name: str) -> bool:
    """Runs benchmark ``name`` again within fresh namespaces; True once this process is there."""
    if is_inside():
        return True
    env = {**os.environ, _INSIDE: "1"}
    command = ["unshare", "-n", "-m", "--propagation", "private", sys.executable, "-m", "bench", name]
    done = subprocess.run(command, env=env)
    if done.returncode:
        sys.exit(done.returncode)
    return False


class Place:
    """A directory, and /run of its own, so that named network namespaces are nobody else's."""

    def __enter__(self):
        self._scratch = tempfile.TemporaryDirectory(prefix="pycalico-bench-")
        self.directory = Path(self._scratch.name)
        for point in ("/run", "/var/lib/calico"):
            os.makedirs(point, exist_ok=True)
            subprocess.run(["mount", "-t", "tmpfs", "bench", point], check=True)
        os.makedirs("/run/netns")
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        return self

    def __exit__(self, *_):
        self._scratch.cleanup()


class World:
    """A context manager. ``ask`` talks to the API server; ``environ`` points programs to it."""

    def __enter__(self):
        self._scratch = tempfile.TemporaryDirectory(prefix="pycalico-bench-")
        self.directory = Path(self._scratch.name)
        for point in ("/run", "/var/lib/calico", "/var/lib/cni"):
            os.makedirs(point, exist_ok=True)
            subprocess.run(["mount", "-t", "tmpfs", "bench", point], check=True)
        os.makedirs("/run/netns")
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        self.kubeconfig = self.directory / "kubeconfig"
        command = [PROGRAMS / "pycalico", "apiserver", "--data", self.directory / "data", "--port", "0"]
        self._server = subprocess.Popen(
            [*command, "--kubeconfig", self.kubeconfig], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        while not self.kubeconfig.exists():
            if self._server.poll() is not None:
                sys.exit("bench: the API server did not start")
            time.sleep(0.02)
        text = self.kubeconfig.read_text()
        self._url = re.search(r"server:\s*\"?([^\"\s]+)", text)[1]
        self._token = re.search(r"token:\s*\"?([^\"\s]+)", text)[1]
        self._context = ssl._create_unverified_context()
        self.environ = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.directory),
            "KUBECONFIG": str(self.kubeconfig),
            "DATASTORE_TYPE": "kubernetes",
        }
        shown = subprocess.run([PROGRAMS / "pycalico", "datastore", "crds"], capture_output=True, check=True)
        subprocess.run(
            ["kubectl", "apply", "-f", "-"],
            input=shown.stdout,
            env=self.environ,
            capture_output=True,
            check=True,
        )
        return self

    def __exit__(self, *_):
        self._server.terminate()
        self._server.wait(10)
        self._scratch.cleanup()

    def ask(self, method, path, body=None):
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {self._token}"}
        request = urllib.request.Request(self._url + path, data, headers, method=method)
        with urllib.request.urlopen(request, context=self._context, timeout=30) as answer:
            return json.loads(answer.read() or b"{}")

    def calico(self, kind, name, spec):
        plural = kind.lower() + "s"
        body = {
            "apiVersion": "crd.projectcalico.org/v1",
            "kind": kind,
            "metadata": {"name": name},
            "spec": spec,
        }
        return self.ask("POST", f"/apis/crd.projectcalico.org/v1/{plural}", body)

    def cluster(self):
        """A node, an initialised cluster and a pool."""
        notes = {"projectcalico.org/IPv4Address": "192.168.10.101/24"}
        node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "bench", "annotations": notes}}
        self.ask("POST", "/api/v1/nodes", node)
        ready = {
            "clusterGUID": "x",
            "clusterType": "k8s,kdd",
            "calicoVersion": "v3.28.1",
            "datastoreReady": True,
        }
        self.calico("ClusterInformation", "default", ready)
        pool = {"cidr": "172.16.0.0/16", "blockSize": 24, "ipipMode": "Never", "vxlanMode": "Always",
                "natOutgoing": True, "nodeSelector": "all()", "allowedUses": ["Workload", "Tunnel"]}  # fmt: skip
        self.calico("IPPool", "default-ipv4-ippool", pool)
        Path("/var/lib/calico/nodename").write_text("bench")
