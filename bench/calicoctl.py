"""Whole commands of calicoctl, small ones and over 2,000 objects, ours and upstream's in turn, on both datastores."""

import json
import os
from pathlib import Path

from bench import etcd, timing, world
from pycalico.api.meta import ObjectMeta
from pycalico.api.v3.clusterinformation import ClusterInformation, ClusterInformationSpec
from pycalico.api.v3.ippool import IPPool, IPPoolSpec
from pycalico.api.v3.node import Node, NodeBGPSpec, NodeSpec
from pycalico.api.v3.workloadendpoint import WorkloadEndpoint, WorkloadEndpointSpec
from pycalico.datastore.open import open_client
from pycalico.ipam.allocator import Allocator

RUNS = 15
COUNT = 2000
SMALL = {
    "--version": ["--version"],
    "version": ["version"],
    "get ippool -o wide": ["get", "ippool", "-o", "wide"],
    "ipam show": ["ipam", "show"],
}
LARGE = {
    "get nodes": ["get", "nodes"],
    "get nodes -o yaml": ["get", "nodes", "-o", "yaml"],
    "get wep -A": ["get", "wep", "-A"],
    "ipam show --show-blocks": ["ipam", "show", "--show-blocks"],
    "ipam check": ["ipam", "check"],
}


def main() -> None:
    if not world.inside("calicoctl"):
        return
    programs = {"ours": world.PROGRAMS / "calicoctl"}
    if world.UPSTREAM and (Path(world.UPSTREAM) / "calicoctl").exists():
        programs["upstream"] = Path(world.UPSTREAM) / "calicoctl"
    with world.World() as there:
        there.cluster()
        with etcd.Etcd():
            environ = {"PATH": os.environ["PATH"], "HOME": str(there.directory), **etcd.ENVIRON}
            _initialise(environ)
            _measure("etcd", SMALL, programs, environ)
            _fill(environ, _etcd_object)
            _measure(f"etcd, {COUNT} nodes and endpoints", LARGE, programs, environ)
        _measure("Kubernetes", SMALL, programs, there.environ)
        _fill(there.environ, lambda _, number: _core_objects(there, number))
        _measure(f"Kubernetes, {COUNT} nodes and endpoints", LARGE, programs, there.environ)


def _initialise(environ):
    client = open_client(environ=environ)
    ready = ClusterInformationSpec(datastore_ready=True, calico_version="v3.28.1")
    client.create(ClusterInformation(metadata=ObjectMeta(name="default"), spec=ready))
    spec = IPPoolSpec(cidr="172.16.0.0/16", block_size=26, node_selector="all()", allowed_uses=["Workload"])
    client.create(IPPool(metadata=ObjectMeta(name="p"), spec=spec))
    client.close()


def _measure(where, commands, programs, environ):
    took = {(who, what): timing.Series() for who in programs for what in commands}
    for run in range(-1, RUNS):
        for what, arguments in commands.items():
            for who, program in programs.items():
                series = took[who, what] if run >= 0 else timing.Series()
                series.run([program, *arguments], env=environ)
    timing.show(
        f"calicoctl, {RUNS} runs each, {where}: median (p90)",
        [(what, took["ours", what], took.get(("upstream", what))) for what in commands],
    )


def _fill(environ, make):
    """Nodes, and an endpoint on each with an address of IPAM."""
    client = open_client(environ=environ)
    for number in range(COUNT):
        make(client, number)
    allocator = Allocator(client)
    for first in range(0, COUNT, 250):
        node = f"n{first}"
        allocator.auto_assign(250, 0, f"h{first}", {"node": node, "namespace": "default"}, node)
    client.close()


def _address(number):
    return f"172.16.{number >> 8}.{number & 255}/32"


def _etcd_object(client, number):
    name, pod = f"n{number}", f"pod-{number}"
    bgp = NodeBGPSpec(ipv4_address=f"10.{number >> 8}.{number & 255}.1/24")
    labels = {"rack": f"r{number % 40}"}
    client.create(Node(metadata=ObjectMeta(name=name, labels=labels), spec=NodeSpec(bgp=bgp)))
    spec = WorkloadEndpointSpec(
        orchestrator="k8s", node=name, pod=pod, endpoint="eth0", ip_networks=[_address(number)],
        interface_name=f"cali{number:011x}", profiles=["kns.default"],
    )  # fmt: skip
    meta = ObjectMeta(name=f"{name}-k8s-pod--{number}-eth0", namespace="default")
    client.create(WorkloadEndpoint(metadata=meta, spec=spec))


def _core_objects(there, number):
    address = f"10.{number >> 8}.{number & 255}.1/24"
    notes = {"projectcalico.org/IPv4Address": address, "note": json.dumps({"number": number})}
    meta = {"name": f"n{number}", "labels": {"rack": f"r{number % 40}"}, "annotations": notes}
    there.ask("POST", "/api/v1/nodes", {"apiVersion": "v1", "kind": "Node", "metadata": meta})
    meta = {"name": f"pod-{number}", "annotations": {"cni.projectcalico.org/podIP": _address(number)}}
    spec = {"nodeName": f"n{number}", "containers": [{"name": "c", "image": "x"}]}
    there.ask(
        "POST",
        "/api/v1/namespaces/default/pods",
        {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec},
    )
