"""What must survive of what is stored: histories forgotten, objects spoiled, writers at once, a lock, a backup restored."""

import json
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from etcd_process import EtcdProcess
from faults import Supervised, eventually, run
from stores import listed, network_set, open_store

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
    follower.until(lambda it: any("n5" in text for _, text in it.log), 5, "and is named")
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


def programmed(wire, port="7777"):
    """The rules of the host endpoint's policy; none before Felix has done its work."""
    text = run(*wire.enter_client, "iptables-legacy-save", "-t", "filter")
    return [line for line in text.splitlines() if line.startswith("-A cali") and port in line]


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
