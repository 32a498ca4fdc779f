"""A node's Felix at 200 local pods, 5,000 remote ones and 500 policies on etcd: ours, and upstream's in the same run.

Each has a network namespace and an etcd of its own with the same content. A cold start ends when readiness says so;
CPU is the process with all programs that it ran.
"""

import base64
import contextlib
import hashlib
import ipaddress
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

import msgspec
from rich.console import Console
from rich.table import Table

from bench import world
from pycalico.api.kinds import KINDS
from pycalico.datastore.open import open_client
from pycalico.datastore.typed import TypedClient

NODE = "bench"
LOCAL, REMOTE, POLICIES, NAMESPACES, NODES = 200, 5000, 500, 50, 100
_REPEATS = 7
#: Cold starts of each, in turn; the first also finds its files not in memory.
_STARTS = 5
_IDLE_S = 30.0
_SETTLE_S = 8.0
#: Between checks that both make after a write, 5, 15, 35 and 75 s later.
_QUIET_S = 38.0
_READY = "http://127.0.0.1:9099/readiness"
_ETCD = "http://127.0.0.1:2379"


def main() -> None:
    if not world.inside("felix"):
        return
    kinds = {"ours": world.PROGRAMS / "calico-felix"}
    theirs = Path(world.UPSTREAM or "/nonexistent") / "calico-felix"
    if theirs.exists():
        kinds["upstream"] = theirs
    with tempfile.TemporaryDirectory(prefix="pycalico-bench-") as scratch:
        folder = Path(scratch)
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        with _etcd(folder / "etcd"):
            _fill()
        starts = {kind: [] for kind in kinds}
        for _ in range(_STARTS):
            for kind, program in kinds.items():
                starts[kind].append(_alone(program, folder, kind, "start"))
        results = {}
        for kind, program in kinds.items():
            results[kind] = {
                name: statistics.median(found[name] for found in starts[kind]) for name in starts[kind][0]
            }
            results[kind] |= _alone(program, folder, kind, "all")
    _show(results)


def _alone(program: Path, folder: Path, kind: str, what: str) -> dict[str, float]:
    """In a network namespace of its own; ``what`` is start or all."""
    command = ["unshare", "-n", sys.executable, "-m", "bench.felix", str(program), str(folder), kind, what]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def _show(results: dict[str, dict[str, float]]) -> None:
    title = f"Felix, {LOCAL} local pods, {REMOTE:,} remote, {POLICIES} policies, etcd"
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for heading in ("", *results):
        table.add_column(heading, justify="left" if not heading else "right")
    for name in results["ours"]:
        table.add_row(name, *(f"{found[name]:.2f}" for found in results.values()))
    Console(width=120).print(table)
    print(f"load after: {os.getloadavg()[0]:.2f}")


# ---- the cluster


@contextlib.contextmanager
def _etcd(data: Path):
    command = ["etcd", "--data-dir", str(data), "--log-level", "error", "--unsafe-no-fsync"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while subprocess.run(["etcdctl", "get", "x"], capture_output=True).returncode:
            time.sleep(0.05)
        yield
    finally:
        process.terminate()
        process.wait(20)


def _client():
    return TypedClient(open_client(environ={"DATASTORE_TYPE": "etcdv3", "ETCD_ENDPOINTS": _ETCD}))


def _put(client, kind, name, spec, namespace="", labels=None):
    meta = {"name": name, "namespace": namespace, "labels": labels or {}}
    client.create(msgspec.convert({"metadata": meta, "spec": spec}, KINDS[kind].type, strict=False))


def _pod(client, node, number, interface, address):
    namespace = f"ns{number % NAMESPACES}"
    spec = {
        "node": node, "orchestrator": "k8s", "endpoint": "eth0", "pod": f"pod{number}", "containerID": "c",
        "interfaceName": interface, "mac": "ee:ee:ee:ee:ee:ee", "ipNetworks": [f"{address}/32"],
        "profiles": [f"kns.{namespace}", f"ksa.{namespace}.default"], "serviceAccountName": "default",
        "ports": [{"name": "http", "protocol": "TCP", "port": 8080}],
    }  # fmt: skip
    labels = {
        "projectcalico.org/namespace": namespace, "projectcalico.org/orchestrator": "k8s",
        "projectcalico.org/serviceaccount": "default", "app": f"app{number // NAMESPACES % 4}", "role": f"r{number % 7}",
    }  # fmt: skip
    _put(client, "WorkloadEndpoint", f"{node}-k8s-pod{number}-eth0", spec, namespace, labels)


def _policy(client, number, namespace):
    peer = f"app == 'app{(number + 1) % 4}'"
    spec = {
        "selector": f"app == 'app{number % 4}'",
        "order": 100 + number,
        "types": ["Ingress", "Egress"],
        "ingress": [
            {"action": "Allow", "protocol": "TCP", "source": {"selector": peer}, "destination": {"ports": [80, 443]}},
            {"action": "Allow", "protocol": "TCP", "source": {"namespaceSelector": f"group == 'g{number % 10}'"},
             "destination": {"ports": ["http"]}},
        ],
        "egress": [{"action": "Allow", "protocol": "UDP", "destination": {"ports": [53]}},
                   {"action": "Allow", "destination": {"selector": f"role in {{'r{number % 7}', 'r1'}}"}}],
    }  # fmt: skip
    _put(client, "NetworkPolicy", f"policy{number}", spec, namespace)


def _fill() -> None:
    client = _client()
    _put(client, "ClusterInformation", "default", {"datastoreReady": True, "clusterGUID": "x"})
    pool = {"cidr": "10.64.0.0/12", "ipipMode": "Never", "vxlanMode": "Never", "natOutgoing": True}
    _put(client, "IPPool", "pool", {**pool, "nodeSelector": "all()"})
    for number in range(NODES + 1):
        name = f"node{number}" if number else NODE
        _put(client, "Node", name, {"bgp": {"ipv4Address": f"10.0.{number // 250}.{number % 250 + 1}/16"}})
    for number in range(NAMESPACES):
        labels = {"pcns.projectcalico.org/name": f"ns{number}", "pcns.group": f"g{number % 10}"}
        allow = [{"action": "Allow"}]
        _put(
            client, "Profile", f"kns.ns{number}", {"ingress": allow, "egress": allow, "labelsToApply": labels}
        )
        account = {"labelsToApply": {"pcsa.projectcalico.org/name": "default"}}
        _put(client, "Profile", f"ksa.ns{number}.default", account)
    base = ipaddress.ip_address("10.64.0.0")
    for number in range(LOCAL):
        _pod(client, NODE, number, f"cali{number:08x}", base + number + 1)
    for number in range(LOCAL, LOCAL + REMOTE):
        _pod(client, f"node{number % NODES + 1}", number, f"cali{number:08x}", base + 1024 + number)
    for number in range(POLICIES):
        _policy(client, number, f"ns{number // 4 % NAMESPACES}")
    client.close()


# ---- one Felix, in its own network namespace


def _measure(program: str, folder: Path, kind: str, what: str) -> dict[str, float]:
    links = [
        "link set lo up",
        "link add eth0 type veth peer name up0",
        "link set up0 up",
        "addr add 10.0.0.1/16 dev eth0",
        "link set eth0 up",
    ]
    for number in range(LOCAL):
        links += [f"link add cali{number:08x} type veth peer name p{number}", f"link set cali{number:08x} up",
                  f"link set p{number} up"]  # fmt: skip
    subprocess.run(["ip", "-batch", "-"], input="\n".join(links), text=True, check=True)
    data = folder / f"etcd-{kind}"
    shutil.rmtree(data, ignore_errors=True)
    shutil.copytree(folder / "etcd", data)
    environ = {
        "PATH": os.environ["PATH"], "HOME": str(folder), "DATASTORE_TYPE": "etcdv3", "ETCD_ENDPOINTS": _ETCD,
        "FELIX_FELIXHOSTNAME": NODE, "FELIX_LOGSEVERITYSCREEN": "warning", "FELIX_LOGFILEPATH": "none",
        "FELIX_IPTABLESBACKEND": "legacy", "FELIX_HEALTHENABLED": "true", "FELIX_IPV6SUPPORT": "false",
        "FELIX_USAGEREPORTINGENABLED": "false", "XTABLES_LOCKFILE": str(folder / "xtables.lock"),
    }  # fmt: skip
    with _etcd(data):
        log = (folder / f"{kind}.log").open("w")
        began = time.monotonic()
        process = subprocess.Popen([program], env=environ, stdout=log, stderr=log)
        try:
            while not _ready():
                assert process.poll() is None, (folder / f"{kind}.log").read_text()[-2000:]
                time.sleep(0.01)
            start = {"cold start s": time.monotonic() - began, "its CPU s": _cpu_s(process.pid)}
            assert _rules() > POLICIES, "nothing is programmed"
            if what == "start":
                return start
            time.sleep(_SETTLE_S)
            found = _latencies()
            time.sleep(_QUIET_S)
            before = _cpu_s(process.pid)
            time.sleep(_IDLE_S)
            found["idle CPU %"] = (_cpu_s(process.pid) - before) / _IDLE_S * 100
            status = Path(f"/proc/{process.pid}/status").read_text()
            found["peak RSS MiB"] = int(status.split("VmHWM:")[1].split()[0]) / 1024
            found |= _restart(program, environ, process, log)
        finally:
            for each in _running:
                each.kill()
                each.wait(10)
            process.kill()
            process.wait(10)
    return found


_running: list[subprocess.Popen] = []


def _restart(program, environ, process, log) -> dict[str, float]:
    process.terminate()
    process.wait(20)
    began = time.monotonic()
    again = subprocess.Popen([program], env=environ, stdout=log, stderr=log)
    _running.append(again)
    while not _ready():
        time.sleep(0.01)
    return {"restart with all programmed s": time.monotonic() - began, "its CPU s ": _cpu_s(again.pid)}


def _ready() -> bool:
    try:
        with urllib.request.urlopen(_READY, timeout=2) as answer:
            return answer.status in (200, 204)
    except (urllib.error.URLError, OSError):
        return False


def _cpu_s(pid: int) -> float:
    """Of the process and of all programs that it ran and waited for."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(int(field) for field in fields[11:15]) / os.sysconf("SC_CLK_TCK")


def _rules() -> int:
    return subprocess.run(["iptables-legacy-save", "-t", "filter"], capture_output=True).stdout.count(b"\n-A")


def _until(argv, wanted: bytes) -> float:
    began = time.monotonic()
    while True:
        done = subprocess.run(argv, capture_output=True)
        if wanted in done.stdout + done.stderr:
            return (time.monotonic() - began) * 1000
        assert time.monotonic() - began < 30, f"{argv} does not show {wanted!r}"


def _latencies() -> dict[str, float]:
    """Medians in milliseconds, from before the write to when the kernel shows it."""
    client = _client()
    found: dict[str, list[float]] = {"member": [], "policy": []}
    name = ""
    for run in range(_REPEATS + 1):
        address = f"10.79.{run}.9"
        began = time.monotonic()
        _pod(client, "node1", 100_000 + run * NAMESPACES * 4 * 7, "caliremote", address)
        if name:
            while subprocess.run(["ipset", "-q", "test", name, address]).returncode:
                assert time.monotonic() - began < 30, f"{address} does not come into {name}"
            found["member"].append((time.monotonic() - began) * 1000)
        time.sleep(1)
        # The set is known by the first of them.
        name = name or _sets_with(address)[0]
    for run in range(_REPEATS):
        began = time.monotonic()
        _policy(client, 10_000 + run * 4, "ns1")
        chain = f"cali-pi-{_chain_suffix(f'ns1/default.policy{10_000 + run * 4}')}".encode()
        _until(["iptables-legacy-save", "-t", "filter"], b":" + chain)
        found["policy"].append((time.monotonic() - began) * 1000)
        time.sleep(1)
    client.close()
    return {f"{name} ms": statistics.median(values) for name, values in found.items() if values}


def _sets_with(address: str) -> list[str]:
    text = subprocess.run(["ipset", "save"], capture_output=True, text=True).stdout.splitlines()
    return [
        line.split()[1] for line in text if line.startswith("add cali40s:") and line.endswith(f" {address}")
    ]


def _chain_suffix(name: str) -> str:
    if len(name) + len("cali-pi-") <= 28:
        return name
    return "_" + base64.urlsafe_b64encode(hashlib.sha256(name.encode()).digest()).decode()[:19]


if __name__ == "__main__":
    print(json.dumps(_measure(sys.argv[1], Path(sys.argv[2]), *sys.argv[3:])))
