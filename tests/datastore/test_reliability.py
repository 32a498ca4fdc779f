"""What must survive of the datastore: servers stopped, connections black-holed, histories forgotten, objects spoiled.

Real servers, followed by processes of their own. Minutes are seconds here; `make soak` takes the minutes.
"""

import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from etcd_process import EtcdProcess
from follower import Follower
from stores import NAMES, listed, network_set, open_store

from pycalico.api.meta import ObjectMeta
from pycalico.api.v3.clusterinformation import ClusterInformation, ClusterInformationSpec
from pycalico.api.v3.ipam import BlockAffinity, IPAMBlock, IPAMHandle
from pycalico.api.v3.ippool import IPPool, IPPoolSpec
from pycalico.api.v3.networkset import GlobalNetworkSet
from pycalico.api.v3.node import Node
from pycalico.api.v3.workloadendpoint import WorkloadEndpoint
from pycalico.datastore.kubernetes.rest import path_of
from pycalico.ipam.allocator import Allocator

PROGRAM = str(Path(sys.executable).with_name("calicoctl"))
READY = ClusterInformationSpec(datastore_ready=True)
LOCKABLE = """
apiVersion: projectcalico.org/v3
kind: Node
metadata: {name: n1}
spec: {bgp: {ipv4Address: 10.231.77.1/24}}
---
apiVersion: projectcalico.org/v3
kind: HostEndpoint
metadata: {name: wire, labels: {role: host}}
spec: {node: n1, interfaceName: wire}
---
apiVersion: projectcalico.org/v3
kind: GlobalNetworkPolicy
metadata: {name: closed}
spec:
  selector: role == 'host'
  ingress: [{action: Deny, protocol: TCP, destination: {ports: [7777]}}, {action: Allow}]
  egress: [{action: Allow}]
"""
KINDS = ("GlobalNetworkSet", "IPPool", "GlobalNetworkPolicy", "BGPPeer")


@pytest.fixture(params=NAMES)
def store(request, tmp_path):
    found = open_store(request.param, tmp_path)
    yield found
    found.close()


@pytest.fixture
def follow(store):
    made = []

    def start(*kinds, where=None, **more):
        made.append(Follower(where or store.where, *kinds, **more))
        return made[-1].synced()

    yield start
    for each in made:
        each.close()


def check_server_stopped(store, follow, outage_s):
    client = store.client()
    for number in range(20):
        client.create(network_set(f"n{number}", number))
    client.close()
    follower = follow(*KINDS)
    store.kill()
    # The first second is for finding out.
    time.sleep(1)
    cpu_s, batches = follower.cpu_s(), len(follower.batches)
    time.sleep(outage_s)
    share = (follower.cpu_s() - cpu_s) / outage_s
    assert share < 0.02, f"{share:.1%} of a core while the server is away"
    assert len(follower.batches) == batches
    assert len(follower.picture) == 20
    store.start()
    client = store.client()
    client.create(network_set("after"))
    expected = listed(client)
    client.close()
    follower.until(lambda it: it.picture == expected, 5, "after its return")
    assert follower.in_sync


def test_scenario_01_server_stopped(store, follow):
    check_server_stopped(store, follow, 5)


class Wire:
    """Two network namespaces with a link between them that can swallow everything."""

    server, client = "10.231.77.2", "10.231.77.1"

    def __init__(self):
        mark = f"pcds{os.getpid()}"
        self._there, self._here = f"{mark}s", f"{mark}c"
        self.enter_server = ("ip", "netns", "exec", self._there)
        self.enter_client = ("ip", "netns", "exec", self._here)
        for name in (self._there, self._here):
            run("ip", "netns", "add", name)
            run("ip", "-n", name, "link", "set", "lo", "up")
        run(
            "ip",
            "-n",
            self._here,
            "link",
            "add",
            "wire",
            "type",
            "veth",
            "peer",
            "name",
            "wire",
            "netns",
            self._there,
        )
        for name, address in ((self._here, self.client), (self._there, self.server)):
            run("ip", "-n", name, "addr", "add", f"{address}/24", "dev", "wire")
            run("ip", "-n", name, "link", "set", "wire", "up")

    def swallow(self):
        rule = "{ type filter hook %s priority 0; policy drop; }"
        chains = "\n".join(f"chain {hook} {rule % hook}" for hook in ("input", "output"))
        run(*self.enter_server, "nft", "-f", "-", input=f"table inet hole {{\n{chains}\n}}\n")

    def release(self):
        run(*self.enter_server, "nft", "delete", "table", "inet", "hole")

    def close(self):
        for name in (self._there, self._here):
            run("ip", "netns", "del", name)


def run(*argv, **more):
    return subprocess.run(
        [*map(str, argv)], check=True, capture_output=True, text=True, timeout=60, **more
    ).stdout


@pytest.fixture
def wire():
    found = Wire()
    yield found
    found.close()


def check_black_hole(name, wire, folder, tcp, detected_s):
    store = open_store(
        name, folder, address=wire.server, enter=wire.enter_server, client_enter=wire.enter_client
    )

    def apply(label):
        manifest = f"apiVersion: projectcalico.org/v3\nkind: GlobalNetworkSet\nmetadata: {{name: {label}}}\n"
        environ = store.process.environ()
        run(*wire.enter_client, PROGRAM, "create", "-f", "-", input=manifest, env=environ)

    follower = None
    try:
        apply("before")
        follower = Follower(store.where, enter=wire.enter_client, tcp=tcp).synced()
        follower.until(lambda it: len(it.picture) == 1, 5)
        wire.swallow()
        began = time.monotonic()
        follower.until(
            lambda it: any("watch" in text or "reach" in text for _, text in it.log), detected_s, "found out"
        )
        detected = follower.log[0][0] - began
        time.sleep(1)
        wire.release()
        apply("after")
        again = follower.until(lambda it: len(it.picture) == 2, 8, "connected again")
        return detected, again
    finally:
        if follower:
            follower.close()
        store.close()


@pytest.mark.netns
@pytest.mark.parametrize("name", NAMES)
def test_scenario_02_connection_black_holed(name, wire, tmp_path):
    """The kernel's timers are cut to a sixth: 4 s instead of 25."""
    detected, _ = check_black_hole(name, wire, tmp_path, (2, 1, 2, 4), 6)
    assert detected > 1, "the hole was none"


class Gone(BaseHTTPRequestHandler):
    """Lists twice, with an object less the second time; all else is answered with 410."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        if "watch=true" in self.path:
            self.server.watches.append(time.monotonic())
            gone = {
                "type": "ERROR",
                "object": {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old"},
            }
            self._answer(200, gone)
            return
        lists = self.server.lists
        lists.append(time.monotonic())
        if len(lists) in (1, self.server.again):
            names = ("a", "b") if len(lists) == 1 else ("b",)
            items = [{"metadata": {"name": name, "resourceVersion": "5"}, "spec": {}} for name in names]
            self._answer(200, {"metadata": {"resourceVersion": "5"}, "items": items})
        else:
            self._answer(410, {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old"})

    def _answer(self, status, body):
        data = json.dumps(body).encode() + b"\n"
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(data)
        self.close_connection = True


def test_scenario_03_a_revision_too_old_on_list_and_on_watch():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Gone)
    server.lists, server.watches, server.again = [], [], 4
    threading.Thread(target=server.serve_forever, daemon=True).start()
    follower = Follower(
        {"datastore_type": "kubernetes", "k8s_api_endpoint": f"http://127.0.0.1:{server.server_address[1]}"}
    )
    try:
        follower.until(lambda it: it.in_sync, 10, "the first list")
        assert len(follower.picture) == 2
        follower.until(lambda it: len(it.picture) == 1, 10, "what vanished is deleted")
        time.sleep(2.5)
    finally:
        follower.close()
        server.shutdown()
        server.server_close()
    pauses = [after - before for before, after in zip(server.lists, server.lists[1:], strict=False)]
    assert min(pauses) >= 0.99, pauses
    assert max(pauses) < 1.4, pauses
    assert len({round(pause, 3) for pause in pauses}) > 1, "no jitter"
    assert len(server.watches) == 2


def test_scenario_05_history_forgotten_while_the_follower_was_away(store, follow):
    client = store.client()
    for number in range(100):
        client.create(network_set(f"n{number}", number))
    follower = follow()
    follower.send(signal.SIGSTOP)
    for number in range(0, 100, 2):
        client.delete(GlobalNetworkSet, f"n{number}")
    for number in range(100, 200):
        client.create(network_set(f"n{number}", number))
    store.kill()
    store.start()
    store.forget()
    client.close()
    client = store.client()
    expected = listed(client)
    assert len(expected) == 150
    follower.send(signal.SIGCONT)
    follower.until(lambda it: it.picture == expected, 15, "the missed changes, deletes among them")
    client.delete(GlobalNetworkSet, "n199")
    follower.until(lambda it: "GlobalNetworkSet(n199)" not in it.picture, 5, "a watch again")
    client.close()


class Cutter:
    """Passes bytes on, and cuts every connection after ``life_s``."""

    def __init__(self, host, port, life_s):
        self._to, self._life_s = (host, port), life_s
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.cuts = 0
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._pass, args=(client,), daemon=True).start()

    def _pass(self, client):
        with client, socket.create_connection(self._to) as server:
            for source, sink in ((client, server), (server, client)):
                threading.Thread(target=self._pump, args=(source, sink), daemon=True).start()
            time.sleep(self._life_s)
            self.cuts += 1
            for each in (client, server):
                try:
                    each.shutdown(socket.SHUT_RDWR)
                except OSError:
                    continue

    @staticmethod
    def _pump(source, sink):
        try:
            while data := source.recv(65536):
                sink.sendall(data)
        except OSError:
            return

    def close(self):
        self._listener.close()


def check_watch_cut(store, follow, cut_s, seconds, tmp_path):
    """Memory and sockets of a follower whose watches never live longer than ``cut_s``."""
    if store.where["datastore_type"] == "etcdv3":
        cutter = Cutter("127.0.0.1", store.process.port, cut_s)
        where = {**store.where, "etcd_endpoints": f"http://127.0.0.1:{cutter.port}"}
    else:
        text = store.process.kubeconfig.read_text()
        port = store.process._port
        cutter = Cutter("127.0.0.1", port, cut_s)
        config = tmp_path / "through"
        config.write_text(text.replace(f":{port}", f":{cutter.port}"))
        where = {**store.where, "kubeconfig": str(config)}
    client = store.client()
    for number in range(50):
        client.create(network_set(f"n{number}", number))
    follower = follow(where=where)
    time.sleep(seconds / 4)
    rss_kib, most = follower.rss_kib(), 0
    deadline = time.monotonic() + seconds
    number = 0
    while time.monotonic() < deadline:
        most = max(most, follower.sockets())
        number += 1
        made = client.get(GlobalNetworkSet, f"n{number % 50}")
        made.metadata.labels["turn"] = str(number)
        client.update(made)
        time.sleep(0.05)
    grown_kib = follower.rss_kib() - rss_kib
    expected = listed(client)
    follower.until(lambda it: it.picture == expected, 10, "every change")
    client.close()
    cutter.close()
    return cutter.cuts, most, grown_kib


def test_scenario_06_watch_cut_again_and_again(store, follow, tmp_path):
    cuts, sockets, grown_kib = check_watch_cut(store, follow, 0.05, 4, tmp_path)
    assert cuts > 3
    assert sockets <= 2
    assert grown_kib < 512


def test_scenario_07_one_bad_object_in_a_thousand(store, follow):
    client = store.client()
    for number in range(999):
        client.create(network_set(f"n{number}", number))
    store.spoil("bad")
    follower = follow()
    expected = listed(client)
    assert len(expected) == 999
    follower.until(lambda it: it.picture == expected, 5, "the 999 others")
    named = [text for _, text in follower.log if "bad" in text]
    assert len(named) == 1, named
    # A good object that turns bad is gone, and comes back when it is good again.
    store.spoil("n5")
    follower.until(lambda it: "GlobalNetworkSet(n5)" not in it.picture, 5, "a bad update deletes")
    assert any("n5" in text for _, text in follower.log)
    client.create(network_set("other"))
    expected = listed(client)
    assert len(expected) == 999
    follower.until(lambda it: it.picture == expected, 5, "and the others go on")
    client.close()


def check_random_history(store, follow, steps, seed):
    """Random writes, kills and lost histories; the follower ends with a fresh list's state."""
    chance = random.Random(seed)
    client = store.client()
    follower = follow()
    there = set()
    for _ in range(steps):
        kind = chance.choices(("write", "delete", "kill", "forget", "pause"), (60, 25, 3, 4, 8))[0]
        name = f"n{chance.randrange(30)}"
        if kind == "write" and name in there:
            found = client.get(GlobalNetworkSet, name)
            found.metadata.labels["turn"] = str(chance.random())
            client.update(found)
        elif kind == "write":
            client.create(network_set(name))
            there.add(name)
        elif kind == "delete" and name in there:
            client.delete(GlobalNetworkSet, name)
            there.discard(name)
        elif kind == "kill":
            store.kill()
            store.start()
        elif kind == "forget":
            store.forget()
        elif kind == "pause":
            follower.send(signal.SIGSTOP if chance.random() < 0.5 else signal.SIGCONT)
    follower.send(signal.SIGCONT)
    expected = listed(client)
    assert len(expected) == len(there)
    follower.until(lambda it: it.picture == expected, 15, f"seed {seed}")
    client.close()


def test_random_histories_end_in_a_fresh_list(store, follow):
    check_random_history(store, follow, 60, random.randrange(10**9))


def check_conflict_storm(store, writers, each):
    """Processes that fill one block for one node; all addresses differ, and the records agree."""
    client = store.client()
    client.create(ClusterInformation(metadata=ObjectMeta(name="default"), spec=READY))
    spec = IPPoolSpec(cidr="10.0.0.0/20", block_size=20, node_selector="all()", allowed_uses=["Workload"])
    client.create(IPPool(metadata=ObjectMeta(name="p"), spec=spec))
    if store.where["datastore_type"] == "etcdv3":
        client.create(Node(metadata=ObjectMeta(name="n1")))
    else:
        client.rest.create(path_of("v1", "nodes"), {"metadata": {"name": "n1"}}, dict)
    processes = [
        subprocess.Popen(
            [sys.executable, Path(__file__).with_name("claimant.py"), json.dumps(store.where), f"w{number}", str(each)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )
        for number in range(writers)
    ]  # fmt: skip
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    found = [json.loads(process.communicate(timeout=280)[0]) for process in processes]
    taken = [address for one in found for address in one["taken"]]
    assert len(taken) == len(set(taken)) == writers * each
    blocks = client.list(IPAMBlock).items
    assert len(blocks) == 1
    assert sum(index is not None for index in blocks[0].spec.allocations) == writers * each
    assert len(client.list(IPAMHandle).items) == writers * each
    client.close()
    return max(one["most"] for one in found)


def test_scenario_08_conflict_storm(store):
    assert check_conflict_storm(store, 8, 12) <= 100


@pytest.mark.netns
def test_scenario_09_datastore_locked(wire, tmp_path):
    """Felix keeps what it programmed and lives, an ADD is refused in one line, and unlocking ends it."""
    etcd = EtcdProcess(tmp_path / "etcd", address=wire.server, enter=wire.enter_server)
    felix = None
    pod = f"{wire.enter_client[-1]}p"
    try:
        etcd.wait(wire.enter_client)
        environ = etcd.environ()

        def ctl(*argv, **more):
            return run(*wire.enter_client, PROGRAM, *argv, env=environ, **more)

        ctl("create", "-f", "-", input=LOCKABLE)
        felix = Supervised(
            [*wire.enter_client, Path(PROGRAM).with_name("calico-felix")], tmp_path / "felix.log",
            {**environ, "FELIX_FELIXHOSTNAME": "n1", "FELIX_DATASTORETYPE": "etcdv3", "FELIX_LOGFILEPATH": "none",
             "FELIX_ETCDENDPOINTS": etcd.url, "FELIX_LOGSEVERITYSCREEN": "info",
             "FELIX_IPTABLESBACKEND": "legacy", "FELIX_IPV6SUPPORT": "false"},
        )  # fmt: skip
        rules = eventually(lambda: programmed(wire), 20)
        ctl("datastore", "migrate", "lock")
        run("ip", "netns", "add", pod)
        config = {
            "name": "net", "cniVersion": "0.3.1", "type": "calico", "datastore_type": "etcdv3", "nodename": "n1",
            "etcd_endpoints": etcd.url, "ipam": {"type": "calico-ipam"}, "nodename_file_optional": True,
        }  # fmt: skip
        call = {
            **environ, "CNI_COMMAND": "ADD", "CNI_CONTAINERID": "c1", "CNI_NETNS": f"/run/netns/{pod}",
            "CNI_IFNAME": "eth0", "CNI_PATH": str(Path(PROGRAM).parent),
        }  # fmt: skip
        done = subprocess.run(
            [*wire.enter_client, Path(PROGRAM).with_name("calico")], input=json.dumps(config), env=call,
            capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        assert done.returncode
        assert json.loads(done.stdout)["msg"] == "Calico is currently not ready to process requests"
        assert "Traceback" not in done.stderr
        time.sleep(2)
        assert "the datastore is locked" in (tmp_path / "felix.log").read_text()
        assert programmed(wire) == rules
        ctl("datastore", "migrate", "unlock")
        ctl("apply", "-f", "-", input=LOCKABLE.replace("7777", "7778"))
        eventually(lambda: programmed(wire, "7778"), 20)
        log = (tmp_path / "felix.log").read_text()
        assert "Traceback" not in log, log
    finally:
        if felix is not None:
            felix.close()
        etcd.close()
        subprocess.run(["ip", "netns", "del", pod], capture_output=True)


class Supervised:
    """A program that is started again when it ends, as a node's supervisor does."""

    def __init__(self, argv, log, environ):
        self._argv, self._log, self._environ = [*map(str, argv)], log.open("ab"), environ
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self):
        while not self._stopping.is_set():
            process = subprocess.Popen(self._argv, stdout=self._log, stderr=self._log, env=self._environ)
            while process.poll() is None and not self._stopping.wait(0.05):
                continue
            process.terminate()
            process.wait(10)
            self._stopping.wait(0.5)

    def close(self):
        self._stopping.set()
        self._thread.join(20)
        self._log.close()


def programmed(wire, port="7777"):
    """The rules of the host endpoint's policy; none before Felix has done its work."""
    text = run(*wire.enter_client, "iptables-legacy-save", "-t", "filter")
    return [line for line in text.splitlines() if line.startswith("-A cali") and port in line]


def eventually(what, seconds):
    deadline = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return found


def test_scenario_10_a_backup_of_ipam_restored(tmp_path):
    """Two hundred pods later the records of an hour ago come back: the audit finds each kind of disagreement, the repair
    leaves none, and no pod was touched.
    """
    store = open_store("kubernetes", tmp_path)
    client = store.client()
    environ = store.process.environ()
    kinds = (IPAMBlock, IPAMHandle, BlockAffinity)

    def command(program, *argv, check=True):
        return subprocess.run(
            [Path(PROGRAM).with_name(program), *argv], env=environ, capture_output=True, text=True, check=check
        )  # fmt: skip

    def start(number):
        name, container = f"pod-{number}", f"c{number}"
        attributes = {"namespace": "default", "pod": name, "node": "n1"}
        taken, _ = allocator.auto_assign(1, 0, f"k8s-pod-network.{container}", attributes, "n1")
        notes = {
            "cni.projectcalico.org/podIP": taken.addresses[0],
            "cni.projectcalico.org/containerID": container,
        }
        spec = {"nodeName": "n1", "containers": [{"name": "c", "image": "x"}]}
        body = {"metadata": {"name": name, "annotations": notes}, "spec": spec}
        client.rest.create(path_of("v1", "pods", "default"), body, dict)

    try:
        client.create(ClusterInformation(metadata=ObjectMeta(name="default"), spec=READY))
        spec = IPPoolSpec(cidr="10.0.0.0/25", block_size=26, node_selector="all()", allowed_uses=["Workload"])
        client.create(IPPool(metadata=ObjectMeta(name="p"), spec=spec))
        client.rest.create(path_of("v1", "nodes"), {"metadata": {"name": "n1"}}, dict)
        allocator = Allocator(client)
        for number in range(100):
            start(number)
        backup = [item for kind in kinds for item in client.list(kind).items]
        for number in range(100):
            allocator.release_by_handle(f"k8s-pod-network.c{number}")
            client.rest.delete(path_of("v1", "pods", "default", f"pod-{number}"), grace_s=0)
        for number in range(100, 200):
            start(number)
        for kind in kinds:
            for item in client.list(kind).items:
                client.delete(kind, item.metadata.name)
        for item in backup:
            item.metadata = ObjectMeta(name=item.metadata.name)
            client.create(item)
        pods = listed(client, WorkloadEndpoint)
        told = command("pycalico", "ipam", "audit", check=False)
        assert told.returncode == 1
        counts = [int(word) for word in re.findall(r"(\d+) [a-z]+", told.stdout.splitlines()[-1])]
        assert all(counts), told.stdout
        assert counts[1] + counts[2] == 100
        assert command("pycalico", "ipam", "audit", "--repair", check=False).returncode == 1, "not locked"
        command("calicoctl", "datastore", "migrate", "lock")
        repaired = command("pycalico", "ipam", "audit", "--repair")
        assert "0 disagreements remain" in repaired.stdout, repaired.stdout
        assert "found 0 problems" in command("calicoctl", "ipam", "check").stdout
        assert listed(client, WorkloadEndpoint) == pods
    finally:
        client.close()
        store.close()
