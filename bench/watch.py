"""A syncer over 50,000 endpoints, from nothing to in sync: wall time, CPU and memory, on etcd and on Kubernetes.

The follower is a process of its own that keeps what it is told, as Felix does. Beside it: the same list taken raw from the
server and thrown away, which is the least that any client waits.
"""

import json
import resource
import socket
import subprocess
import sys
import time

from rich.console import Console
from rich.table import Table

from bench import world
from pycalico.api.meta import ObjectMeta
from pycalico.api.v3.workloadendpoint import WorkloadEndpoint, WorkloadEndpointSpec
from pycalico.datastore.config import DatastoreConfig
from pycalico.datastore.etcd.gateway import b64
from pycalico.datastore.kubernetes.rest import path_of
from pycalico.datastore.open import open_client
from pycalico.syncer.syncer import Syncer, WatchSpec

COUNT = 50_000
RUNS = 3
_NAMESPACES = 50
_BATCH = 120  # etcd's most in one transaction is 128
_PREFIX = "/calico/resources/v3/projectcalico.org/workloadendpoints/"


def main() -> None:
    if not world.inside("watch"):
        return
    with world.World() as there:
        etcd = _etcd(there.directory)
        try:
            url = etcd.args[etcd.args.index("--listen-client-urls") + 1]
            _fill_etcd(url)
            _fill_kubernetes(there.environ)
            rows = [
                ("etcd", _best({"etcd_endpoints": url, "datastore_type": "etcdv3"})),
                ("Kubernetes", _best({"kubeconfig": str(there.kubeconfig), "datastore_type": "kubernetes"})),
            ]
        finally:
            etcd.terminate()
            etcd.wait(10)
    table = Table(title=f"{COUNT} endpoints, best of {RUNS}", title_justify="left", box=None, pad_edge=False)
    for heading in ("", "in sync s", "CPU s", "raw list s", "peak MiB", "peak MiB before"):
        table.add_column(heading, justify="right" if heading else "left")
    for what, found in rows:
        table.add_row(what, *(f"{found[name]:.1f}" for name in ("wall", "cpu", "raw", "peak", "before")))
    Console(width=120).print(table)


def _etcd(directory):
    with socket.socket() as one, socket.socket() as other:
        one.bind(("127.0.0.1", 0))
        other.bind(("127.0.0.1", 0))
        client, peer = (f"http://127.0.0.1:{each.getsockname()[1]}" for each in (one, other))
    return subprocess.Popen(
        ["etcd", "--data-dir", str(directory / "etcd"), "--unsafe-no-fsync", "--listen-client-urls", client,
         "--advertise-client-urls", client, "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
         "--initial-cluster", f"default={peer}", "--log-level", "error"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip


def _fill_etcd(url):
    client = open_client(DatastoreConfig(datastore_type="etcdv3", etcd_endpoints=url))
    deadline = time.monotonic() + 20
    while True:
        try:
            client.gateway.range("/x")
            break
        except Exception:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
    store = client.store(WorkloadEndpoint)
    for start in range(0, COUNT, _BATCH):
        puts = [
            {"request_put": {"key": b64(store.key_of(each)), "value": b64(store.encode(each))}}
            for each in map(_endpoint, range(start, min(COUNT, start + _BATCH)))
        ]
        client.gateway.call("/v3/kv/txn", {"success": puts}, dict)
    client.close()


def _endpoint(number):
    namespace, address = f"ns{number % _NAMESPACES}", _address(number)
    labels = {
        "app": f"app{number % 200}",
        "projectcalico.org/namespace": namespace,
        "projectcalico.org/orchestrator": "k8s",
        "projectcalico.org/serviceaccount": "default",
    }
    return WorkloadEndpoint(
        metadata=ObjectMeta(
            name=f"node{number // 100}-k8s-pod--{number}-eth0", namespace=namespace, labels=labels,
            uid=f"00000000-0000-4000-8000-{number:012d}", creation_timestamp="2026-01-01T00:00:00Z",
        ),
        spec=WorkloadEndpointSpec(
            orchestrator="k8s", node=f"node{number // 100}", pod=f"pod-{number}", endpoint="eth0",
            container_id=f"{number:064x}", ip_networks=[address], interface_name=f"cali{number:011x}",
            profiles=[f"kns.{namespace}", f"ksa.{namespace}.default"], mac="ee:ee:ee:ee:ee:ee",
        ),
    )  # fmt: skip


def _address(number):
    return f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}/32"


def _fill_kubernetes(environ):
    client = open_client(environ=environ)
    for number in range(_NAMESPACES):
        client.rest.create(path_of("v1", "namespaces"), {"metadata": {"name": f"ns{number}"}}, dict)
    for number in range(COUNT):
        notes = {
            "cni.projectcalico.org/containerID": f"{number:064x}",
            "cni.projectcalico.org/podIP": _address(number),
            "cni.projectcalico.org/podIPs": _address(number),
        }
        meta = {"name": f"pod-{number}", "labels": {"app": f"app{number % 200}"}, "annotations": notes}
        container = {"name": "c", "image": "app:1", "ports": [{"name": "http", "containerPort": 8080}]}
        spec = {
            "nodeName": f"node{number // 100}",
            "serviceAccountName": "default",
            "containers": [container],
        }
        path = path_of("v1", "pods", f"ns{number % _NAMESPACES}")
        client.rest.request("POST", path, body={"metadata": meta, "spec": spec})
    client.close()


def _best(where):
    found = []
    for _ in range(RUNS):
        done = subprocess.run(
            [sys.executable, "-m", "bench.watch", json.dumps(where)], capture_output=True, check=True
        )
        found.append(json.loads(done.stdout))
    best = min(found, key=lambda each: each["wall"])
    return best | {"peak": max(each["peak"] for each in found), "raw": min(each["raw"] for each in found)}


def follow(where):
    """In a process of its own: what it took, as JSON."""
    config = DatastoreConfig(**where)
    before = _peak_mib()
    began, cpu = time.perf_counter(), time.process_time()
    syncer = Syncer(open_client(config), [WatchSpec(WorkloadEndpoint)])
    syncer.start()
    picture = {}
    while not syncer.in_sync:
        for update in syncer.take(60).updates:
            picture[update.key] = update.value
    took = {"wall": time.perf_counter() - began, "cpu": time.process_time() - cpu}
    assert len(picture) == COUNT, len(picture)
    took |= {"peak": _peak_mib(), "before": before}
    syncer.stop()
    print(json.dumps(took | {"raw": _raw(config)}))


def _raw(config):
    client = open_client(config)
    began = time.perf_counter()
    if config.datastore_type == "etcdv3":
        client.gateway.range(_PREFIX, prefix=True)
    else:
        client.rest.request("GET", path_of("v1", "pods"), query={"resourceVersion": "0"}, read_s=60.0)
    return time.perf_counter() - began


def _peak_mib():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    follow(json.loads(sys.argv[1]))
