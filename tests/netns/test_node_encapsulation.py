"""The pool's encapsulation changed while two whole nodes run: routes and MTU follow, traffic goes on, nothing stays behind.

The kernel decides what can be tried here: VXLAN and none. IPIP needs its module (the lab's own kernel has it).
"""

import ipaddress
import json
import time

import pytest
from test_node_tree import PREPARE, Cluster, until

pytestmark = pytest.mark.netns

SET = """
import sys
from pycalico.api.v3.ippool import IPPool
from pycalico.datastore.open import open_client
client = open_client()
for name in ("default-ipv4-ippool", "default-ipv6-ippool"):
    pool = client.get(IPPool, name)
    pool.spec.vxlan_mode = sys.argv[1]
    pool.spec.ipip_mode = "Never"
    client.update(pool)
"""

BLOCKS = """
import json
from pycalico.api.v3.ipam import BlockAffinity
from pycalico.datastore.open import open_client
print(json.dumps([[item.spec.node, item.spec.cidr] for item in open_client().list(BlockAffinity).items]))
"""


@pytest.fixture
def cluster(tmp_path):
    made = Cluster(tmp_path)
    try:
        made.start_server()
        made.inside(PREPARE)
        yield made
    finally:
        made.close()


def route(tree, cidr):
    """(device, gateway) of each route to the block."""
    family = "-6" if ":" in cidr else "-4"
    found = json.loads(tree.enter("ip", family, "-j", "route", "show", cidr).stdout or "[]")
    return [
        (item.get("dev", ""), item.get("gateway", ""))
        for item in found
        if item.get("type", "") != "blackhole"
    ]


def reaches(tree, source, target):
    return tree.enter("ping", "-n", "-c", "1", "-W", "1", "-I", source, target, check=False).returncode == 0


def test_modes_follow_each_other_without_a_lost_route(cluster):
    settings = {
        "CALICO_DISABLE_FELIX": "", "CALICO_IPV4POOL_IPIP": "Never", "CALICO_IPV4POOL_VXLAN": "Always",
        "CALICO_IPV6POOL_VXLAN": "Always", "CALICO_IPV6POOL_CIDR": "fd16::/48", "FELIX_IPV6SUPPORT": "true",
        "IP6": "autodetect", "FELIX_HEALTHENABLED": "true",
    }  # fmt: skip
    trees = {}
    for name, number in (("w1", 1), ("w2", 2)):
        tree = trees[name] = cluster.start(name, number, address6=f"fd91::{number}/64", **settings)
    w1 = trees["w1"]

    def blocks():
        found = json.loads(cluster.inside(BLOCKS).stdout)
        by_node = {(node, ":" in cidr): cidr for node, cidr in found}
        return by_node if len(by_node) == 4 else None

    found = until(blocks, 60)
    pairs = []
    for six in (False, True):
        ends = {}
        for name, tree in trees.items():
            cidr = found[(name, six)]
            # A pod's address in the block, as far as routes go.
            ends[name] = str(ipaddress.ip_network(cidr)[9])
            tree.enter("ip", "addr", "add", f"{ends[name]}/{128 if six else 32}", "dev", "lo")
            tree.enter("sysctl", "-qw", "net.ipv6.conf.all.forwarding=1", "net.ipv4.ip_forward=1")
        pairs.append((found[("w2", six)], ends["w1"], ends["w2"], "vxlan-v6.calico" if six else "vxlan.calico",
                      "fd91::2" if six else "10.91.0.2"))  # fmt: skip
    for mode, tunnelled, mtu in (("Always", True, None), ("CrossSubnet", False, None), ("Never", False, "1500"),
                                 ("Always", True, None), ("Never", False, "1500")):  # fmt: skip
        cluster.inside(SET, mode)
        for cidr, here, there, device, address in pairs:
            expected = device if tunnelled else "eth0"

            def settled(cidr=cidr, expected=expected):
                routes = route(w1, cidr)
                return [dev for dev, _ in routes] == [expected] and routes

            [(_, gateway)] = until(settled, 30)
            if not tunnelled:
                assert gateway == address
            until(lambda here=here, there=there: reaches(w1, here, there), 20)
        if mtu:
            until(lambda mtu=mtu: (w1.root / "var/lib/calico/mtu").read_text().strip() == mtu)
        else:
            until(lambda: int((w1.root / "var/lib/calico/mtu").read_text()) in (1430, 1450))
    # The last state stays: nothing of the tunnels comes back.
    time.sleep(3)
    for cidr, *_ in pairs:
        assert [dev for dev, _ in route(w1, cidr)] == ["eth0"]
