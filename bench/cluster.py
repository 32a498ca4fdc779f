"""A cluster that exists in etcd only: nodes, endpoints and policies as upstream stores them."""

import base64
import json
import subprocess
import sys
import time
import urllib.request

PREFIX = "/calico/resources/v3/projectcalico.org/"
NODE = "bench"
APPS = 50
_BATCH = 2000
_STAMP = "2024-01-01T00:00:00Z"


class Etcd:
    """A context manager; listens on all addresses of the namespace."""

    def __init__(self, folder, port=2379):
        self.url = f"http://127.0.0.1:{port}"
        self._command = [
            "etcd", "--data-dir", str(folder / "etcd"), "--log-level", "error", "--max-txn-ops", "100000",
            "--max-request-bytes", str(64 << 20), "--quota-backend-bytes", str(4 << 30), "--unsafe-no-fsync",
            "--listen-client-urls", f"http://0.0.0.0:{port}", "--advertise-client-urls", self.url,
            "--listen-peer-urls", f"http://127.0.0.1:{port + 1}",
        ]  # fmt: skip

    def __enter__(self):
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for _ in range(500):
            try:
                self.ask("kv/range", {"key": _b64("x")})
                return self
            except OSError:
                time.sleep(0.02)
        sys.exit("bench: etcd did not start")

    def __exit__(self, *_):
        self._process.kill()
        self._process.wait()

    def ask(self, path, body):
        request = urllib.request.Request(f"{self.url}/v3/{path}", json.dumps(body).encode())
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.loads(answer.read())

    def put(self, *resources):
        """Resources of the wire form, in transactions."""
        for start in range(0, len(resources), _BATCH):
            some = resources[start : start + _BATCH]
            self.ask("kv/txn", {"success": [{"requestPut": _pair(resource)} for resource in some]})

    def delete(self, resource):
        self.ask("kv/deleterange", {"key": _pair(resource)["key"]})


def _b64(text):
    return base64.b64encode(text.encode()).decode()


def _pair(resource):
    meta = resource["metadata"]
    path = f"{meta['namespace']}/{meta['name']}" if "namespace" in meta else meta["name"]
    plural = resource["kind"].lower()
    plural = plural[:-1] + "ies" if plural.endswith("y") else plural + "s"
    return {"key": _b64(f"{PREFIX}{plural}/{path}"), "value": _b64(json.dumps(resource))}


def resource(kind, name, spec, namespace="", **metadata):
    meta = {"name": name, "uid": f"{kind}-{name}", "creationTimestamp": _STAMP, **metadata}
    if namespace:
        meta["namespace"] = namespace
    return {"kind": kind, "apiVersion": "projectcalico.org/v3", "metadata": meta, "spec": spec}


def endpoint(node, pod, address, labels, interface="cali0", mac="ee:ee:ee:ee:ee:ee"):
    spec = {
        "orchestrator": "k8s", "node": node, "containerID": f"c{pod}", "pod": pod, "endpoint": "eth0",
        "ipNetworks": [f"{address}/32"], "profiles": ["kns.default"], "interfaceName": interface, "mac": mac,
    }  # fmt: skip
    name = f"{node.replace('-', '--')}-k8s-{pod.replace('-', '--')}-eth0"
    standing = {"projectcalico.org/namespace": "default", "projectcalico.org/orchestrator": "k8s"}
    return resource("WorkloadEndpoint", name, spec, "default", labels={**standing, **labels})


def remote_address(number):
    return f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"


def local_interface(number):
    return f"cali{number:05d}"


def policy(name, app, rules, order=100):
    spec = {"order": order, "selector": f"app == 'app-{app}'", "types": ["Ingress"], "ingress": rules}
    return resource("GlobalNetworkPolicy", f"default.{name}", spec)


def allow(port, selector, protocol="TCP"):
    source = {"selector": selector} if selector else {}
    return {"action": "Allow", "protocol": protocol, "source": source, "destination": {"ports": [port]}}


def world(local, remote, policies):
    """All that exists, as resources. Every policy has a set of its own kind: half as many sets as policies."""
    roles = max(policies // 2, 1)
    yield resource(
        "ClusterInformation",
        "default",
        {"datastoreReady": True, "clusterGUID": "0", "calicoVersion": "v3.28.1"},
    )
    pool = {"cidr": "172.16.0.0/16", "ipipMode": "Never", "vxlanMode": "Never", "nodeSelector": "all()"}
    yield resource("IPPool", "pool", {**pool, "allowedUses": ["Workload"], "blockSize": 26})
    everything = {"ingress": [{"action": "Allow"}], "egress": [{"action": "Allow"}]}
    yield resource("Profile", "kns.default", everything)
    yield resource("Node", NODE, {"bgp": {"ipv4Address": "192.168.10.101/24"}})
    for number in range(remote // 100):
        address = f"192.168.{20 + number // 250}.{1 + number % 250}/24"
        yield resource("Node", f"remote-{number}", {"bgp": {"ipv4Address": address}})
    for number in range(local):
        address = f"172.16.{number >> 8}.{number & 255}"
        labels = {"app": f"app-{number % APPS}"}
        yield endpoint(NODE, f"local-{number}", address, labels, local_interface(number), mac_of(number))
    for number in range(remote):
        labels = {"role": f"role-{number % roles}", "place": "remote"}
        yield endpoint(f"remote-{number // 100}", f"pod-{number}", remote_address(number + 256), labels)
    for number in range(policies):
        rules = [
            allow(1000 + number % 50000, f"role == 'role-{number % roles}'"),
            allow(80, "app == 'app-1'"),
        ]
        yield policy(f"p-{number}", number % APPS, rules)
    yield policy("members", 0, [allow(7001, "place == 'remote'", "UDP")])


def mac_of(number):
    return f"02:00:00:00:{number >> 8:02x}:{number & 255:02x}"
