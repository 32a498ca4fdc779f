"""IPIP, VXLAN and none, one after the other and beside each other, while two whole nodes run. Needs a kernel with ipip:
`test_encapsulation_ipip.py` runs this file in one.
"""

import ipaddress
import json
import time

import pytest
from test_node_encapsulation import BLOCKS, reaches, route
from test_node_tree import PREPARE, Cluster, until

#: User-Mode Linux is ten times slower.
PATIENCE_S = 240.0

SET = """
import sys
from pycalico.api.meta import ObjectMeta
from pycalico.api.v3.ippool import IPPool, IPPoolSpec
from pycalico.datastore.errors import NotFound
from pycalico.datastore.open import open_client
client = open_client()
name, cidr, ipip, vxlan = sys.argv[1:]
try:
    pool = client.get(IPPool, name)
    pool.spec.ipip_mode, pool.spec.vxlan_mode = ipip, vxlan
    client.update(pool)
except NotFound:
    spec = IPPoolSpec(cidr=cidr, ipip_mode=ipip, vxlan_mode=vxlan, block_size=24, nat_outgoing=False)
    client.create(IPPool(metadata=ObjectMeta(name=name), spec=spec))
"""
FIRST, SECOND = ("default-ipv4-ippool", "172.16.0.0/16"), ("second", "172.20.0.0/16")


@pytest.fixture
def cluster(tmp_path):
    made = Cluster(tmp_path)
    try:
        made.start_server()
        made.inside(PREPARE)
        yield made
    finally:
        made.close()


def blocks(cluster, pool):
    """node → its block of the pool, once both have one."""
    found = {
        node: cidr
        for node, cidr in json.loads(cluster.inside(BLOCKS).stdout)
        if ipaddress.ip_network(cidr).subnet_of(ipaddress.ip_network(pool[1]))
    }
    return found if len(found) == 2 else None


@pytest.mark.timeout(1500)
def test_ipip_and_mixed_pools_follow_each_other_without_a_lost_route(cluster):
    settings = {"CALICO_DISABLE_FELIX": "", "FELIX_HEALTHENABLED": "true", "CALICO_IPV4POOL_IPIP": "Always"}
    trees = {name: cluster.start(name, number, **settings) for name, number in (("w1", 1), ("w2", 2))}
    w1 = trees["w1"]
    ends = {}

    def settle(pool, device):
        found = until(lambda: blocks(cluster, pool), PATIENCE_S)
        for name, tree in trees.items():
            # A pod's address in the block, as far as routes go.
            ends[pool, name] = str(ipaddress.ip_network(found[name])[9])
            tree.enter("ip", "addr", "replace", f"{ends[pool, name]}/32", "dev", "lo")
            tree.enter("sysctl", "-qw", "net.ipv4.ip_forward=1")
        began = time.monotonic()
        until(lambda: [dev for dev, _ in route(w1, found["w2"])] == [device], PATIENCE_S)
        until(lambda: reaches(w1, ends[pool, "w1"], ends[pool, "w2"]), PATIENCE_S)
        print(f"{pool[0]} by {device}: after {time.monotonic() - began:.1f} s", flush=True)

    def mtu(wanted):
        until(lambda: (w1.root / "var/lib/calico/mtu").read_text().strip() == wanted, PATIENCE_S)

    settle(FIRST, "tunl0")
    mtu("1480")
    for ipip, vxlan, device, size in (
        ("CrossSubnet", "Never", "eth0", "1480"),
        ("Never", "Always", "vxlan.calico", "1450"),
        ("Always", "Never", "tunl0", "1480"),
        ("Never", "Never", "eth0", "1500"),
        ("Always", "Never", "tunl0", "1480"),
    ):
        cluster.inside(SET, *FIRST, ipip, vxlan)
        settle(FIRST, device)
        mtu(size)
    # Two pools, each its own way; then both the other way round, and neither.
    cluster.inside(SET, *SECOND, "Never", "Always")
    settle(SECOND, "vxlan.calico")
    settle(FIRST, "tunl0")
    mtu("1450")
    cluster.inside(SET, *FIRST, "Never", "Always")
    cluster.inside(SET, *SECOND, "Always", "Never")
    settle(FIRST, "vxlan.calico")
    settle(SECOND, "tunl0")
    cluster.inside(SET, *FIRST, "Never", "Never")
    settle(FIRST, "eth0")
    settle(SECOND, "tunl0")
    mtu("1480")
