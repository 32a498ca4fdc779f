"""Scenario 17: nodes and networks with the longest and oddest names, on both real datastores."""

import os
import subprocess
import sys
from pathlib import Path

from etcd_process import EtcdProcess

from pycalico.api.meta import ObjectMeta
from pycalico.api.v3.ipam import BlockAffinity, IPAMBlock, IPAMHandle
from pycalico.api.v3.ippool import IPPool, IPPoolSpec
from pycalico.api.v3.node import Node
from pycalico.datastore.kubernetes.rest import path_of
from pycalico.datastore.open import open_client
from pycalico.ipam.allocator import Allocator

LONG = ".".join(["n" * 60] * 4) + ".example"  # 251
HOSTS = [LONG, LONG + "x", LONG[:-1] + "y", "a.b-c.d", "a--b", "a", "10-0-0-0-26"]


def run(client, hosts, networks):
    spec = IPPoolSpec(cidr="10.77.0.0/16", block_size=26, node_selector="all()")
    client.create(IPPool(metadata=ObjectMeta(name="names"), spec=spec))
    ipam = Allocator(client)
    try:
        taken = {}
        for number, host in enumerate(hosts):
            for network in networks:
                handle = f"{network}.{number:064x}"
                outcome, _ = ipam.auto_assign(1, 0, handle, {"node": host}, host)
                assert outcome.complete, outcome
                taken[handle] = outcome.addresses[0].split("/")[0]
        assert len(set(taken.values())) == len(taken)
        owners = {item.spec.node: item for item in client.list(BlockAffinity).items}
        assert set(owners) >= set(hosts)
        for host in hosts:
            assert [item.spec.node for item in ipam.records.affinities(host)] == [host]
        assert all(len(item.metadata.name) <= 253 for item in owners.values())
        blocks = {item.spec.affinity for item in client.list(IPAMBlock).items}
        assert blocks >= {f"host:{host}" for host in hosts}
        for handle, address in taken.items():
            assert ipam.ips_by_handle(handle) == [address]
            assert ipam.release_by_handle(handle) == 1
        assert client.list(IPAMHandle).items == []
        for host in hosts:
            ipam.release_host_affinities(host, must_be_empty=True)
        assert not [item for item in client.list(BlockAffinity).items if item.spec.node in hosts]
    finally:
        client.delete(IPPool, "names")


def test_kubernetes(kubernetes):
    nodes = path_of("v1", "nodes")
    for host in HOSTS:
        node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": host}}
        kubernetes.rest.create(nodes, node, dict)
    try:
        run(kubernetes, HOSTS, ["net", "other-net"])
    finally:
        for host in HOSTS:
            kubernetes.rest.delete(f"{nodes}/{host}")


def test_etcd(etcd):
    hosts = [*HOSTS, "UPPER.Case", "upper.case"]
    client = open_client(environ={**os.environ, "DATASTORE_TYPE": "etcdv3", "ETCD_ENDPOINTS": etcd.url})
    try:
        for host in hosts:
            client.create(Node(metadata=ObjectMeta(name=host)))
        run(client, hosts, ["net", "Net"])
        for host in hosts:
            client.delete(Node, host)
    finally:
        client.close()


def test_writers_at_random_lose_nothing_and_take_nothing_twice(tmp_path):
    """The measure of ``bench ipam``, for some seconds: 200 writers on 50 nodes, every address counted at the end."""
    etcd = EtcdProcess(tmp_path).wait()
    try:
        done = subprocess.run(
            [sys.executable, "-m", "bench.writers", "--seconds", "6"],
            env={**os.environ, "DATASTORE_TYPE": "etcdv3", "ETCD_ENDPOINTS": etcd.url},
            cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
    finally:
        etcd.close()
    assert done.returncode == 0, done.stdout + done.stderr
    assert ", 0 faults" in done.stdout
