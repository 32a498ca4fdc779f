"""kube-controllers with etcd: a first sync of a large cluster, one change, drift; ours and upstream's in turn.

One API server for both, an etcd that is emptied in between. Memory is the process's high-water mark.
"""

import json
import os
import random
import signal
import socket
import statistics
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from bench import world
from pycalico.api.meta import ObjectMeta
from pycalico.api.v3.workloadendpoint import WorkloadEndpoint, WorkloadEndpointSpec
from pycalico.controllers.runconfig import default_configuration
from pycalico.datastore.etcd.bulk import MOST, Bulk, Found, Swap
from pycalico.datastore.etcd.gateway import b64
from pycalico.datastore.kubernetes.rest import MERGE_PATCH, path_of
from pycalico.datastore.open import open_client

SCALE = float(os.environ.get("BENCH_SCALE", "1"))
NAMESPACES, POLICIES, PODS = int(5000 * SCALE), int(5000 * SCALE), int(20000 * SCALE)
WRONG_LABELS = max(1, PODS // 100)
CHANGES = 30
DRIFTS = max(3, int(300 * SCALE))
PERIOD_S = 10
_ROOT = "/calico/resources/v3/projectcalico.org/"
_PATIENCE_S = 180.0


def main() -> None:
    if not world.inside("controllers"):
        return
    programs = {"ours": world.PROGRAMS / "calico-kube-controllers"}
    if world.UPSTREAM and (Path(world.UPSTREAM) / "kube-controllers").exists():
        programs["upstream"] = Path(world.UPSTREAM) / "kube-controllers"
    with world.World() as there:
        began = time.perf_counter()
        cluster = Cluster(there)
        cluster.fill()
        print(
            f"{NAMESPACES} namespaces, {NAMESPACES} service accounts, {POLICIES} policies, {PODS} pods made "
            f"in {time.perf_counter() - began:.0f} s",
            flush=True,
        )
        shown = {who: _measure(cluster, program) for who, program in programs.items()}
        cluster.close()
    width = max(len(what) for what in shown["ours"])
    print(f"\n{'':{width}}  " + "".join(f"{who:>22}" for who in shown) + f"{'wanted':>14}")
    wanted = {"first sync": "20 s", "memory": "300 MiB", "one change": "100 ms", "drift": f"{PERIOD_S} s"}
    for what in shown["ours"]:
        cells = "".join(f"{figures.get(what, '-'):>22}" for figures in shown.values())
        limit = next((limit for start, limit in wanted.items() if what.startswith(start)), "")
        print(f"{what:{width}}  {cells}{limit:>14}")
    print(f"load after: {os.getloadavg()[0]:.2f}")


class Cluster:
    """The API server's contents, and the etcd beside it."""

    def __init__(self, there):
        self.there = there
        self.rest = open_client(environ={**os.environ, **there.environ}).rest
        port, peer = _free_port(), f"http://127.0.0.1:{_free_port()}"
        self.url = f"http://127.0.0.1:{port}"
        self.environ = {**there.environ, "DATASTORE_TYPE": "etcdv3", "ETCD_ENDPOINTS": self.url}
        self.process = subprocess.Popen(
            [
                *("etcd", "--data-dir", str(there.directory / "etcd"), "--log-level", "error"),
                *("--listen-client-urls", self.url, "--advertise-client-urls", self.url),
                *("--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer),
                *("--initial-cluster", f"default={peer}"),
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        time.sleep(2)
        self.client = open_client(environ={**os.environ, **self.environ})

    def close(self):
        self.process.terminate()
        self.process.wait(20)

    def fill(self):
        work = [("v1", "namespaces", "", _namespace(number)) for number in range(NAMESPACES)]
        self._create(work)
        work = [("networking.k8s.io/v1", "networkpolicies", _in(n), _policy(n)) for n in range(POLICIES)]
        work += [("v1", "pods", _in(number), _pod(number)) for number in range(PODS)]
        self._create(work)

    def _create(self, work):
        def one(row):
            api, plural, namespace, body = row
            self.rest.create(path_of(api, plural, namespace), body, dict)
            if plural == "pods":
                path = path_of(api, plural, namespace, body["metadata"]["name"], "status")
                self.rest.patch(path, {"status": body["status"]}, dict, MERGE_PATCH)

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(one, work))

    def reset(self):
        """An etcd as the CNI plugin leaves it, some labels out of date."""
        self.client.gateway.delete_prefix("/")
        configuration = default_configuration()
        configuration.spec.prometheus_metrics_port = 9094
        self.client.create(configuration)
        bulk = Bulk(self.client, WorkloadEndpoint)
        for start in range(0, PODS, MOST):
            writes = [_endpoint(number) for number in range(start, min(start + MOST, PODS))]
            assert bulk.swap(writes)

    def count(self, plural):
        body = {"key": b64(_ROOT + plural), "range_end": b64(_ROOT + plural[:-1] + "0"), "count_only": True}
        return int(self.client.gateway.call("/v3/kv/range", body, dict).get("count", 0))


def _measure(cluster, program):
    cluster.reset()
    log = cluster.there.directory / "log"
    environ = {
        **cluster.environ,
        "RECONCILER_PERIOD": f"{PERIOD_S}s",
        "ENABLED_CONTROLLERS": "node,policy,namespace,serviceaccount,workloadendpoint",
    }
    began = time.perf_counter()
    with log.open("w") as stream:
        process = subprocess.Popen(
            [program, "-status-file", cluster.there.directory / "status.json"],
            env=environ, stdout=stream, stderr=subprocess.STDOUT,
        )  # fmt: skip
    figures = {}
    try:
        labels = [_endpoint_key(number) for number in range(WRONG_LABELS)]
        _until(lambda: cluster.count("networkpolicies/") >= POLICIES)
        _until(lambda: cluster.count("profiles/") >= 2 * NAMESPACES)
        copied = time.perf_counter() - began
        figures["first sync, copies"] = f"{copied:.1f} s"
        good = _try(
            lambda: _until(lambda: all("app" in _labels(cluster, key) for key in labels), patience_s=40)
        )
        figures["first sync, labels too"] = f"{time.perf_counter() - began:.1f} s" if good else "not done"
        figures["CPU of the first sync"] = f"{_cpu(process.pid):.1f} s"
        time.sleep(3)
        changes = _changes(cluster)
        ordered = sorted(changes)
        figures["one change, median"] = f"{statistics.median(changes) * 1000:.0f} ms"
        figures["one change, p90"] = f"{ordered[int(len(ordered) * 0.9)] * 1000:.0f} ms"
        figures["one change, worst"] = f"{ordered[-1] * 1000:.0f} ms"
        figures["drift, all repaired after"] = _drift(cluster)
        figures["memory, highest"] = f"{_highest(process.pid) / 1024:.0f} MiB"
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(20)
    return figures


def _changes(cluster):
    """Seconds from the API server's answer to the value in etcd, of policies, namespaces and pods in turn."""
    took = []
    for number in range(CHANGES):
        if number % 3 == 0:
            key = f"{_ROOT}networkpolicies/{_in(number)}/knp.default.p{number}"
            path = path_of("networking.k8s.io/v1", "networkpolicies", _in(number), f"p{number}")
            body = {"spec": {"podSelector": {"matchLabels": {"change": str(time.time_ns())}}}}
        elif number % 3 == 1:
            key = f"{_ROOT}profiles/kns.ns{number}"
            path = path_of("v1", "namespaces", "", f"ns{number}")
            body = {"metadata": {"labels": {"change": str(time.time_ns())}}}
        else:
            pod = number + WRONG_LABELS
            key = _endpoint_key(pod)
            path = path_of("v1", "pods", _in(pod), f"pod{pod}")
            body = {"metadata": {"labels": {"change": str(time.time_ns())}}}
        before = cluster.client.gateway.range(key).kvs[0].mod_revision
        began = time.perf_counter()
        cluster.rest.patch(path, body, dict, MERGE_PATCH)
        _until(
            lambda key=key, before=before: cluster.client.gateway.range(key).kvs[0].mod_revision != before,
            0.001,
            20,
        )
        took.append(time.perf_counter() - began)
        time.sleep(0.1)
    return took


def _drift(cluster):
    """Deletes, changes and adds at random; how long until all is as it was."""
    gateway = cluster.client.gateway
    pick = random.Random(1)
    good, added = {}, []
    for turn in range(DRIFTS):
        kind = turn % 3
        if kind == 0:
            key = f"{_ROOT}profiles/kns.ns{pick.randrange(NAMESPACES)}"
        else:
            number = pick.randrange(POLICIES)
            key = f"{_ROOT}networkpolicies/{_in(number)}/knp.default.p{number}"
        if key in good:
            continue
        value = json.loads(gateway.range(key).kvs[0].value)
        good[key] = value["spec"]
        if kind == 1:
            value["spec"] = {"selector": "all()"}
            gateway.put_if(key, json.dumps(value).encode(), "")
        else:
            gateway.delete_if(key, "")
        if kind == 2:
            ghost = f"{_ROOT}profiles/kns.ghost{turn}"
            body = {"kind": "Profile", "apiVersion": "projectcalico.org/v3", "metadata": {"name": f"kns.ghost{turn}"}, "spec": {}}  # fmt: skip
            gateway.put_if(ghost, json.dumps(body).encode(), "")
            added.append(ghost)
    began = time.perf_counter()

    def whole():
        if any(gateway.range(key).kvs for key in added):
            return False
        for key, spec in good.items():
            kvs = gateway.range(key).kvs
            if not kvs or json.loads(kvs[0].value)["spec"] != spec:
                return False
        return True

    return f"{time.perf_counter() - began:.1f} s" if _try(lambda: _until(whole, 0.2)) else "not done"


def _namespace(number):
    labels = {"team": f"t{number % 50}", "stage": "prod" if number % 2 else "test"}
    return {"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": f"ns{number}", "labels": labels}}


def _in(number):
    return f"ns{number % NAMESPACES}"


def _policy(number):
    spec = {
        "podSelector": {"matchLabels": {"app": f"a{number % 20}"}},
        "policyTypes": ["Ingress", "Egress"],
        "ingress": [
            {
                "from": [
                    {"podSelector": {"matchLabels": {"app": f"a{(number + 1) % 20}"}}},
                    {"namespaceSelector": {"matchLabels": {"team": f"t{number % 50}"}}},
                    {"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16"]}},
                ],
                "ports": [{"port": 80, "protocol": "TCP"}, {"port": 443, "protocol": "TCP"}],
            }
        ],
        "egress": [{"to": [{"namespaceSelector": {}}], "ports": [{"port": 53, "protocol": "UDP"}]}],
    }
    return {"kind": "NetworkPolicy", "apiVersion": "networking.k8s.io/v1",
            "metadata": {"name": f"p{number}"}, "spec": spec}  # fmt: skip


def _pod(number):
    ip = _address(number)
    return {
        "kind": "Pod", "apiVersion": "v1",
        "metadata": {"name": f"pod{number}", "labels": {"app": f"a{number % 20}", "pod-template-hash": f"h{number % 400}", "tier": "x"}},
        "spec": {"nodeName": f"node{number % 200}", "serviceAccountName": "default",
                 "containers": [{"name": "main", "image": "registry.example.org/team/app:1.2.3",
                                 "ports": [{"containerPort": 8080, "name": "http", "protocol": "TCP"}],
                                 "env": [{"name": f"SETTING_{i}", "value": "some value of some length"} for i in range(8)]}]},
        "status": {"phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}]},
    }  # fmt: skip


def _address(number):
    return f"10.{64 + (number >> 16)}.{number >> 8 & 255}.{number & 255}"


def _endpoint_name(number):
    return f"node{number % 200}-k8s-pod{number}-eth0"


def _endpoint_key(number):
    return f"{_ROOT}workloadendpoints/{_in(number)}/{_endpoint_name(number)}"


def _endpoint(number):
    labels = {
        "projectcalico.org/namespace": _in(number),
        "projectcalico.org/orchestrator": "k8s",
        "projectcalico.org/serviceaccount": "default",
    }
    if number >= WRONG_LABELS:
        labels |= _pod(number)["metadata"]["labels"]
    endpoint = WorkloadEndpoint(
        metadata=ObjectMeta(name=_endpoint_name(number), namespace=_in(number), labels=labels),
        spec=WorkloadEndpointSpec(
            orchestrator="k8s",
            node=f"node{number % 200}",
            pod=f"pod{number}",
            endpoint="eth0",
            container_id=f"c{number:060}",
            service_account_name="default",
            ip_networks=[_address(number) + "/32"],
            profiles=[f"kns.{_in(number)}", f"ksa.{_in(number)}.default"],
            interface_name=f"cali{number:011}",
        ),
    )
    return Swap(Found(_in(number), _endpoint_name(number)), endpoint)


def _labels(cluster, key):
    return json.loads(cluster.client.gateway.range(key).kvs[0].value)["metadata"].get("labels", {})


def _until(condition, pause_s=0.05, patience_s=_PATIENCE_S):
    deadline = time.monotonic() + patience_s
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError
        time.sleep(pause_s)


def _try(wait):
    try:
        wait()
    except TimeoutError:
        return False
    return True


def _cpu(pid):
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _highest(pid):
    """KiB."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0])


def _free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
