"""``calicoctl ipam check`` of 5,000 blocks with 100,000 addresses on etcd: time and memory, ours and upstream's."""

import ipaddress
import os
import re
import subprocess
import time
from pathlib import Path

from bench import controllers, world
from pycalico.api.meta import ObjectMeta
from pycalico.api.v3.clusterinformation import ClusterInformation, ClusterInformationSpec
from pycalico.api.v3.ipam import IPAMBlock, IPAMHandle, IPAMHandleSpec
from pycalico.api.v3.ippool import IPPool, IPPoolSpec
from pycalico.api.v3.workloadendpoint import WorkloadEndpoint, WorkloadEndpointSpec
from pycalico.datastore.etcd.gateway import TxnAnswer, b64
from pycalico.ipam import block as blocks

BLOCKS, EACH = 5000, 20


def main() -> None:
    if not world.inside("ipamcheck"):
        return
    programs = {"ours": world.PROGRAMS / "calicoctl"}
    if world.UPSTREAM and (Path(world.UPSTREAM) / "calicoctl").exists():
        programs["upstream"] = Path(world.UPSTREAM) / "calicoctl"
    with world.World() as there:
        cluster = controllers.Cluster(there)
        _fill(cluster.client)
        for who, program in programs.items():
            for _ in range(3):
                print(f"{who:10} {_run(program, cluster.environ, there.directory / 'out')}", flush=True)
        cluster.close()
    print(f"load after: {os.getloadavg()[0]:.2f}")


def _run(program, environ, out):
    began = time.perf_counter()
    with out.open("w") as stream:
        process = subprocess.Popen([program, "ipam", "check"], env=environ, stdout=stream)
        _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    took = time.perf_counter() - began
    found = re.search(r"found \d+ problems", out.read_text())
    cpu = used.ru_utime + used.ru_stime
    return f"{took:.1f} s, {cpu:.1f} s of CPU, {used.ru_maxrss / 1024:.0f} MiB  {found[0] if found else 'failed'}"


def _fill(client):
    ready = ClusterInformationSpec(datastore_ready=True, cluster_guid="x", calico_version="v3.28.1")
    client.create(ClusterInformation(metadata=ObjectMeta(name="default"), spec=ready))
    client.create(IPPool(metadata=ObjectMeta(name="p"), spec=IPPoolSpec(cidr="10.0.0.0/8", block_size=26)))
    puts = []
    for number in range(BLOCKS):
        for resource in _block(number):
            store = client.store(type(resource))
            store.fresh(resource)
            puts.append(
                {"request_put": {"key": b64(store.key_of(resource)), "value": b64(store.encode(resource))}}
            )
        if len(puts) > 80:
            client.gateway.call("/v3/kv/txn", {"success": puts}, TxnAnswer)
            puts = []
    if puts:
        client.gateway.call("/v3/kv/txn", {"success": puts}, TxnAnswer)


def _block(number):
    """A block, its addresses' handles and endpoints; one address in a hundred has none."""
    node = f"node{number // 20}"
    network = ipaddress.ip_network((int(ipaddress.ip_address("10.0.0.0")) + number * 64, 26))
    made = blocks.new(network, node)
    for ordinal in range(EACH):
        serial = number * EACH + ordinal
        namespace, pod = f"ns{serial % 200}", f"pod{serial}"
        handle = f"k8s-pod-network.{serial:064x}"
        who = {
            "node": node,
            "namespace": namespace,
            "pod": pod,
            "timestamp": "2026-01-01 05:35:10.5 +0000 UTC",
        }
        blocks.assign_address(made.spec, int(network[ordinal]), handle, who)
        spec = IPAMHandleSpec(handle_id=handle, block={str(network): 1})
        yield IPAMHandle(metadata=ObjectMeta(name=handle), spec=spec)
        if serial % 100:
            endpoint = WorkloadEndpointSpec(
                orchestrator="k8s", node=node, pod=pod, endpoint="eth0", container_id=f"{serial:064x}",
                ip_networks=[f"{network[ordinal]}/32"], profiles=[f"kns.{namespace}", f"ksa.{namespace}.default"],
                interface_name=f"cali{serial:011x}", service_account_name="default",
            )  # fmt: skip
            meta = ObjectMeta(name=f"{node}-k8s-{pod}-eth0", namespace=namespace, labels={"app": "x"})
            yield WorkloadEndpoint(metadata=meta, spec=endpoint)
    yield IPAMBlock(metadata=ObjectMeta(name=made.metadata.name), spec=made.spec)
