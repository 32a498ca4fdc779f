"""The same with etcd as Calico's datastore: a real etcd, a real API server, real processes of ours and of upstream."""

import json
import os
import signal
import subprocess
from pathlib import Path

from controllers_lab import BIN, free_port, until

from pycalico.datastore.errors import DatastoreError
from pycalico.datastore.kubernetes.rest import MERGE_PATCH, path_of
from pycalico.datastore.open import open_client

ROOT = "/calico/resources/v3/projectcalico.org/"
UPSTREAM = os.environ.get("UPSTREAM_BIN", "")
_APIS = {
    "Namespace": ("v1", "namespaces"),
    "ServiceAccount": ("v1", "serviceaccounts"),
    "Pod": ("v1", "pods"),
    "Node": ("v1", "nodes"),
    "NetworkPolicy": ("networking.k8s.io/v1", "networkpolicies"),
}


class Etcd:
    def __init__(self, folder):
        self.folder = folder
        self.url, self._peer = f"http://127.0.0.1:{free_port()}", f"http://127.0.0.1:{free_port()}"
        self.process = None
        self.start()

    def start(self):
        self.process = subprocess.Popen(
            [
                *("etcd", "--data-dir", str(self.folder), "--unsafe-no-fsync", "--log-level", "error"),
                *("--listen-client-urls", self.url, "--advertise-client-urls", self.url),
                *("--listen-peer-urls", self._peer, "--initial-advertise-peer-urls", self._peer),
                *("--initial-cluster", f"default={self._peer}"),
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

        def answers():
            try:
                self.client().gateway.range("/none")
            except DatastoreError:
                return False
            return True

        until(answers)

    def stop(self):
        self.process.kill()
        self.process.wait(10)

    def environ(self):
        return {"DATASTORE_TYPE": "etcdv3", "ETCD_ENDPOINTS": self.url}

    def client(self):
        return open_client(environ={"PATH": os.environ["PATH"], "HOME": "/root", **self.environ()})

    def wipe(self):
        self.client().gateway.delete_prefix("/")

    def dump(self, prefix="/calico/"):
        """Every key to its value, without what is random or a time."""
        found = {}
        for kv in self.client().gateway.range(prefix, prefix=True).kvs:
            value = json.loads(kv.value)
            for field in ("uid", "creationTimestamp"):
                value.get("metadata", {}).pop(field, None)
            found[kv.key.decode()] = value
        return found

    def revisions(self, prefix=ROOT):
        """Every key to how often it was written and when last."""
        answer = self.client().gateway.range(prefix, prefix=True)
        return {kv.key.decode(): (kv.version, kv.mod_revision) for kv in answer.kvs}


class Kubernetes:
    """Changes what an API server has."""

    def __init__(self, server):
        self.server = server
        environ = {**os.environ, "DATASTORE_TYPE": "kubernetes", "KUBECONFIG": str(server.kubeconfig)}
        self.rest = open_client(environ=environ).rest

    def path(self, kind, namespace="", name="", sub=""):
        return path_of(*_APIS[kind], namespace, name, sub)

    def create(self, kind, name, namespace="", **body):
        metadata = {"name": name, **body.pop("metadata", {})}
        whole = {"kind": kind, "apiVersion": _APIS[kind][0], "metadata": metadata, **body}
        self.rest.create(self.path(kind, namespace), whole, dict)

    def patch(self, kind, name, namespace="", sub="", **body):
        self.rest.patch(self.path(kind, namespace, name, sub), body, dict, MERGE_PATCH)

    def delete(self, kind, name, namespace=""):
        self.rest.delete(self.path(kind, namespace, name), grace_s=0)

    def get(self, path):
        return self.rest.get(path, dict)

    def clean(self):
        """Removes everything that a test made."""
        for kind in ("Pod", "NetworkPolicy", "ServiceAccount", "Namespace", "Node"):
            for item in self.get(self.path(kind))["items"]:
                meta = item["metadata"]
                kept = meta["name"] in ("default", "kube-system", "kube-public", "kube-node-lease")
                if not kept:
                    self.delete(kind, meta["name"], meta.get("namespace", ""))
        for path in (path_of("coordination.k8s.io/v1", "leases"), path_of("v1", "events")):
            for item in self.get(path)["items"]:
                meta = item["metadata"]
                where = path.rsplit("/", 1)
                self.rest.delete(f"{where[0]}/namespaces/{meta['namespace']}/{where[1]}/{meta['name']}")

    def pod(self, name, namespace, node, ip="", labels=None, account="default"):
        spec = {
            "nodeName": node,
            "serviceAccountName": account,
            "containers": [{"name": "c", "image": "x"}],
        }
        self.create("Pod", name, namespace, metadata={"labels": labels or {}}, spec=spec)
        if ip:
            status = {"phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}]}
            self.patch("Pod", name, namespace, "status", status=status)


class Process:
    """One replica of kube-controllers: ours, or ``program``'s."""

    number = 0

    def __init__(self, folder, server, etcd, program=None, **environ):
        Process.number += 1
        self.name = f"replica-{Process.number}"
        self.status_file = Path(folder) / self.name / "status.json"
        self.status_file.parent.mkdir()
        self.log = Path(folder) / f"{self.name}.log"
        clean = {key: value for key, value in os.environ.items() if key in ("PATH", "HOME")}
        with self.log.open("w") as stream:
            self.process = subprocess.Popen(
                [str(program or BIN / "calico-kube-controllers"), "-status-file", str(self.status_file)],
                env={**clean, "KUBECONFIG": str(server.kubeconfig), **etcd.environ(), **environ},
                stdout=stream,
                stderr=subprocess.STDOUT,
            )

    def text(self):
        return self.log.read_text()

    def says(self, text, seconds=15.0):
        until(lambda: text in self.text() or self.process.poll() is not None, seconds)
        assert text in self.text(), self.text()

    def status(self):
        return json.loads(self.status_file.read_text())["Readiness"]

    def signal(self, number):
        os.kill(self.process.pid, number)

    def kill(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
            self.process.wait(10)

    def end(self):
        self.process.terminate()
        return self.process.wait(10)
