"""IPAM garbage collection by the real processes: 10,000 addresses on etcd, 500 of them leaked in every way.

The API server is stopped (SIGSTOP) for a while in the middle: its watches are silent and nobody can be asked.
"""

import ipaddress
import os
import random
import signal
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from bench import controllers, world
from pycalico.api import names
from pycalico.api.meta import ObjectMeta
from pycalico.api.v3.clusterinformation import ClusterInformation, ClusterInformationSpec
from pycalico.api.v3.ipam import BlockAffinity, BlockAffinitySpec, IPAMBlock, IPAMHandle, IPAMHandleSpec
from pycalico.api.v3.ippool import IPPool, IPPoolSpec
from pycalico.api.v3.node import Node, NodeSpec, OrchRef
from pycalico.controllers.runconfig import default_configuration
from pycalico.datastore.etcd.gateway import TxnAnswer, b64
from pycalico.datastore.kubernetes.rest import MERGE_PATCH, path_of
from pycalico.ipam import block as blocks

NODES, PER_NODE = 50, 198
WAYS = {"pod gone": 150, "handle gone": 50, "address reused": 70, "finished": 60, "pod moved": 70}
DEAD = 100
GRACE_S = 20
_SILENT_S = 30


def main() -> None:
    if not world.inside("leaks"):
        return
    programs = {"ours": world.PROGRAMS / "calico-kube-controllers"}
    if world.UPSTREAM and (Path(world.UPSTREAM) / "kube-controllers").exists():
        programs["upstream"] = Path(world.UPSTREAM) / "kube-controllers"
    with world.World() as there:
        cluster = controllers.Cluster(there)
        plan = Plan()
        plan.make_pods(cluster.rest)
        shown = {who: _measure(cluster, plan, there, program) for who, program in programs.items()}
        cluster.close()
    width = max(len(what) for what in shown["ours"])
    print(f"\n{'':{width}}  " + "".join(f"{who:>16}" for who in shown))
    for what in shown["ours"]:
        print(f"{what:{width}}  " + "".join(f"{figures[what]:>16}" for figures in shown.values()))
    print(f"load after: {os.getloadavg()[0]:.2f}")


class Plan:
    """Who holds which address: (node, address, pod or None for a tunnel, way or None when in use)."""

    def __init__(self):
        ways = [way for way, count in WAYS.items() for _ in range(count)]
        ways += [None] * (NODES * (PER_NODE - 1) - len(ways))
        random.Random(1).shuffle(ways)
        self.rows = []
        for node in range(NODES):
            base = ipaddress.ip_address("10.0.0.0") + node * 1024
            self.rows.append((f"node{node}", base, None, None))
            for index in range(1, PER_NODE):
                self.rows.append((f"node{node}", base + index, f"pod{node}-{index}", ways.pop()))
        base = ipaddress.ip_address("10.0.0.0") + NODES * 1024
        for index in range(DEAD):
            pod = f"pod-dead-{index}" if index else None
            self.rows.append(("dead", base + index, pod, "node gone"))
        self.leaked = {str(address) for _, address, _, way in self.rows if way}
        self.used = {str(address) for _, address, _, way in self.rows if not way}

    def make_pods(self, rest):
        for node in range(NODES):
            body = {"kind": "Node", "apiVersion": "v1", "metadata": {"name": f"node{node}"}}
            rest.create(path_of("v1", "nodes"), body, dict)

        def one(row):
            node, address, pod, way = row
            if pod is None or way in ("pod gone", "handle gone", "node gone"):
                return
            where = "node0" if way == "pod moved" and node != "node0" else node
            spec = {"nodeName": where, "containers": [{"name": "c", "image": "x"}]}
            body = {"kind": "Pod", "apiVersion": "v1", "metadata": {"name": pod}, "spec": spec}
            rest.create(path_of("v1", "pods", "default"), body, dict)
            ip = "10.200.0.1" if way else str(address)
            status = {
                "phase": "Succeeded" if way == "finished" else "Running",
                "podIP": ip,
                "podIPs": [{"ip": ip}],
            }
            rest.patch(path_of("v1", "pods", "default", pod, "status"), {"status": status}, dict, MERGE_PATCH)

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(one, self.rows))

    def write(self, client):
        """Everything of Calico's, into an empty etcd."""
        client.gateway.delete_prefix("/")
        configuration = default_configuration()
        configuration.spec.controllers.node.leak_grace_period = f"{GRACE_S}s"
        ready = ClusterInformationSpec(datastore_ready=True)
        made = [
            configuration,
            ClusterInformation(metadata=ObjectMeta(name="default"), spec=ready),
            IPPool(metadata=ObjectMeta(name="pool"), spec=IPPoolSpec(cidr="10.0.0.0/8", block_size=26)),
        ]
        for node in range(NODES):
            spec = NodeSpec(orch_refs=[OrchRef(node_name=f"node{node}", orchestrator="k8s")])
            made.append(Node(metadata=ObjectMeta(name=f"node{node}"), spec=spec))
        found = {}
        for node, address, pod, way in self.rows:
            network = ipaddress.ip_network((int(address) & ~63, 26))
            if network not in found:
                found[network] = blocks.new(network, node)
                affinity = BlockAffinitySpec(state="confirmed", node=node, cidr=str(network))
                made.append(
                    BlockAffinity(metadata=ObjectMeta(name=names.affinity(node, str(network))), spec=affinity)
                )
            handle = f"ipip-tunnel-addr-{node}" if pod is None else f"net.{pod}"
            who = {"type": "ipipTunnelAddress"} if pod is None else {"namespace": "default", "pod": pod}
            blocks.assign_address(found[network].spec, int(address), handle, {"node": node, **who})
            if way != "handle gone":
                spec = IPAMHandleSpec(handle_id=handle, block={str(network): 1})
                made.append(IPAMHandle(metadata=ObjectMeta(name=handle), spec=spec))
        made += found.values()
        for start in range(0, len(made), 100):
            puts = [_put(client, resource) for resource in made[start : start + 100]]
            client.gateway.call("/v3/kv/txn", {"success": puts}, TxnAnswer)


def _measure(cluster, plan, there, program):
    plan.write(cluster.client)
    environ = {**cluster.environ, "ENABLED_CONTROLLERS": "node"}
    log = there.directory / f"log-{program.parent.name}"
    with log.open("w") as stream:
        process = subprocess.Popen(
            [program, "-status-file", there.directory / "status.json"],
            env=environ, stdout=stream, stderr=subprocess.STDOUT,
        )  # fmt: skip
    began = time.monotonic()
    figures, wrong = {}, 0
    try:
        while not plan.leaked - _held(cluster) and time.monotonic() - began < 60:
            time.sleep(0.2)
        figures["first of a dead node freed after"] = f"{time.monotonic() - began:.1f} s"
        time.sleep(3)
        os.kill(there._server.pid, signal.SIGSTOP)
        time.sleep(_SILENT_S)
        held = _held(cluster)
        wrong = len(plan.used - held)
        figures[f"freed wrongly in {_SILENT_S} s of silence"] = str(wrong)
        figures["leaks freed by then"] = str(len(plan.leaked - held))
        os.kill(there._server.pid, signal.SIGCONT)
        again = time.monotonic()
        while plan.leaked & _held(cluster) and time.monotonic() - again < 180:
            time.sleep(0.2)
        figures["all freed after the silence"] = f"{time.monotonic() - again:.1f} s"
        time.sleep(5)
        held = _held(cluster)
        figures["leaks freed"] = f"{len(plan.leaked - held)} of {len(plan.leaked)}"
        figures["freed wrongly"] = f"{len(plan.used - held)} of {len(plan.used)}"
    finally:
        os.kill(there._server.pid, signal.SIGCONT)
        process.terminate()
        process.wait(20)
    return figures


def _held(cluster):
    return {
        str(blocks.network(each.spec)[ordinal])
        for each in cluster.client.list(IPAMBlock).items
        for ordinal, _ in blocks.allocated(each.spec)
    }


def _put(client, resource):
    store = client.store(type(resource))
    store.fresh(resource)
    return {"request_put": {"key": b64(store.key_of(resource)), "value": b64(store.encode(resource))}}
