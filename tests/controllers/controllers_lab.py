"""A real API server with the CRDs, and real controller processes beside it."""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

from pycalico.api.meta import ObjectMeta
from pycalico.api.v3.ippool import IPPool, IPPoolSpec
from pycalico.api.v3.kubecontrollersconfiguration import KubeControllersConfiguration
from pycalico.controllers.runconfig import default_configuration
from pycalico.datastore.errors import NotFound
from pycalico.datastore.kubernetes.crds import crds
from pycalico.datastore.kubernetes.rest import path_of
from pycalico.datastore.open import open_client
from pycalico.ipam.allocator import Allocator

BIN = Path(sys.executable).parent


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def until(condition, seconds=15.0):
    """The first true answer of ``condition``."""
    deadline = time.monotonic() + seconds
    while True:
        found = condition()
        if found:
            return found
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.05)


class ApiServer:
    def __init__(self, folder):
        self.folder, self.kubeconfig, self.port, self.process = folder, folder / "kubeconfig", "0", None

    def start(self):
        self.kubeconfig.unlink(missing_ok=True)
        command = [BIN / "pycalico", "apiserver", "--data", self.folder / "data", "--port", self.port]
        self.process = subprocess.Popen([*map(str, command), "--kubeconfig", str(self.kubeconfig)])
        until(self.kubeconfig.exists)
        # The same address after a restart.
        text = self.kubeconfig.read_text()
        self.port = text.split("server:")[1].split()[0].rsplit(":", 1)[1]

    def stop(self):
        self.process.terminate()
        assert self.process.wait(10) == 0


class Cluster:
    """One API server, a pool of /26 blocks, and whatever a test makes of it."""

    def __init__(self, server, folder):
        self.server, self.folder = server, folder
        environ = {"DATASTORE_TYPE": "kubernetes", "KUBECONFIG": str(server.kubeconfig)}
        self.environ = environ
        self.client = open_client(environ={**os.environ, **environ})
        self.rest = self.client.rest
        self.allocator = Allocator(self.client)
        self.controllers = []

    def install(self):
        for crd in crds():
            self.rest.create(path_of("apiextensions.k8s.io/v1", "customresourcedefinitions"), crd, dict)
        spec = IPPoolSpec(cidr="10.10.0.0/16", block_size=26, node_selector="all()")
        self.client.create(IPPool(metadata=ObjectMeta(name="pool"), spec=spec))

    def configure(self, change):
        """Creates or changes the configuration object."""
        try:
            current = self.client.get(KubeControllersConfiguration, "default")
        except NotFound:
            current = self.client.create(default_configuration())
        change(current.spec)
        self.client.update(current)

    def node(self, name, **metadata):
        body = {"kind": "Node", "apiVersion": "v1", "metadata": {"name": name, **metadata}}
        return self.rest.create(path_of("v1", "nodes"), body, dict)

    def delete_node(self, name):
        self.rest.delete(path_of("v1", "nodes", "", name))

    def pod(self, name, node, addresses=(), phase="Running", **spec):
        body = {
            "kind": "Pod",
            "apiVersion": "v1",
            "metadata": {"name": name, "namespace": "default"},
            "spec": {"nodeName": node, "containers": [{"name": "c", "image": "x"}], **spec},
        }
        self.rest.create(path_of("v1", "pods", "default"), body, dict)
        if addresses:
            status = {"phase": phase, "podIP": addresses[0], "podIPs": [{"ip": ip} for ip in addresses]}
            path = path_of("v1", "pods", "default", name, "status")
            self.rest.patch(path, {"status": status}, dict)

    def delete_pod(self, name):
        self.rest.delete(path_of("v1", "pods", "default", name), grace_s=0)

    def take(self, pod, node, handle=None, **attributes):
        """An address as the CNI plugin takes it."""
        attributes = {"namespace": "default", "node": node, "pod": pod, **attributes}
        found, _ = self.allocator.auto_assign(1, 0, handle or f"net.{pod}", attributes, node)
        return found.addresses[0].split("/")[0]

    def take_tunnel(self, node):
        attributes = {"node": node, "type": "ipipTunnelAddress"}
        found, _ = self.allocator.auto_assign(1, 0, f"ipip-tunnel-addr-{node}", attributes, node)
        return found.addresses[0].split("/")[0]

    def start(self, **environ):
        controllers = Controllers(self, environ)
        self.controllers.append(controllers)
        return controllers

    def close(self):
        for controllers in self.controllers:
            controllers.kill()
        self.client.close()


class Controllers:
    """One process of calico-kube-controllers, its metrics on a port of the test's."""

    def __init__(self, cluster, environ):
        self.cluster = cluster
        self.metrics_port = free_port()
        cluster.configure(lambda spec: setattr(spec, "prometheus_metrics_port", self.metrics_port))
        number = len(cluster.controllers)
        self.status_file = cluster.folder / f"status-{number}" / "status.json"
        self.log = cluster.folder / f"log-{number}"
        clean = {key: value for key, value in os.environ.items() if key in ("PATH", "HOME")}
        with self.log.open("w") as stream:
            self.process = subprocess.Popen(
                [str(BIN / "calico-kube-controllers"), "-status-file", str(self.status_file)],
                env={**clean, **cluster.environ, "ENABLED_CONTROLLERS": "node", **environ},
                stdout=stream,
                stderr=subprocess.STDOUT,
            )

    def text(self):
        return self.log.read_text()

    def says(self, text, seconds=15.0):
        until(lambda: text in self.text() or self.process.poll() is not None, seconds)
        assert text in self.text(), self.text()

    def metrics(self):
        """Lines of /metrics that are IPAM's, without comments."""
        url = f"http://127.0.0.1:{self.metrics_port}/metrics"
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                lines = answer.read().decode().splitlines()
        except urllib.error.URLError:
            return []
        return [line for line in lines if line.startswith("ipam_")]

    def status(self):
        return json.loads(self.status_file.read_text())["Readiness"]

    def check(self, flag="-r"):
        command = [str(BIN / "check-status"), flag, "-f", str(self.status_file)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=20)
        return done.returncode, done.stdout.strip()

    def end(self):
        self.process.terminate()
        return self.process.wait(10)

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(10)
