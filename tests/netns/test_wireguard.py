"""Two whole nodes with WireGuard: keys published, traffic encrypted, and back again without a lost way.

Where the kernel has no WireGuard, wireguard-go serves the devices; all else is the same.
"""

import ipaddress
import json
import subprocess
import time

import pytest
from test_node_encapsulation import BLOCKS, reaches
from test_node_tree import PREPARE, Cluster, until

pytestmark = pytest.mark.netns

WISH = """
import sys
from pycalico.api.v3.felixconfiguration import FelixConfiguration
from pycalico.datastore.errors import NotFound
from pycalico.datastore.open import open_client
client = open_client()
name, on = sys.argv[1], sys.argv[2] == "on"
try:
    found = client.get(FelixConfiguration, name)
except NotFound:
    found = FelixConfiguration()
    found.metadata.name = name
    client.create(found)
    found = client.get(FelixConfiguration, name)
found.spec.wireguard_enabled = found.spec.wireguard_enabled_v6 = on
client.update(found)
"""

KEYS = """
import json
from pycalico.api.v3.node import Node
from pycalico.datastore.open import open_client
print(json.dumps({node.metadata.name: [node.status.wireguard_public_key, node.status.wireguard_public_key_v6,
    node.spec.wireguard.interface_ipv4_address if node.spec.wireguard else ""]
    for node in open_client().list(Node).items}))
"""


@pytest.fixture
def cluster(tmp_path):
    made = Cluster(tmp_path)
    try:
        made.start_server()
        made.inside(PREPARE)
        yield made
    finally:
        # Whoever serves a device ends with it; it is nobody's child.
        for tree in made.trees.values():
            tree.enter("sv", "-w", "15", "down", "/etc/service/enabled/felix", check=False)
            for name in ("wireguard.cali", "wg-v6.cali"):
                tree.enter("ip", "link", "del", name, check=False)
        made.close()


class Watch:
    """How many plain packets of pods crossed the nodes' network."""

    def __init__(self, cluster, addresses):
        hosts = " or ".join(f"host {address}" for address in addresses)
        self.process = subprocess.Popen(
            ["ip", "netns", "exec", cluster.bridge, "tcpdump", "-l", "-n", "-i", "br0", "--immediate-mode", hosts],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        while "listening on" not in self.process.stderr.readline():
            pass

    def end(self):
        time.sleep(0.3)
        self.process.terminate()
        return [line for line in self.process.communicate(timeout=10)[0].splitlines() if line.strip()]


def table(tree, family):
    """Destination and device ("": back to the main table) of each route of WireGuard's table."""
    done = tree.enter("ip", family, "-j", "route", "show", "table", "1", check=False)
    # A table that nobody has put a route into does not exist.
    found = json.loads(done.stdout) if done.returncode == 0 else []
    return {item["dst"]: "" if item.get("type") == "throw" else item["dev"] for item in found}


def rules(tree, family="-4"):
    return [line for line in tree.enter("ip", family, "rule").stdout.splitlines() if line.startswith("99:")]


def wg(tree, *words):
    return tree.enter("wg", "show", *words, check=False).stdout


def test_pods_of_nodes_with_keys_talk_through_wireguard_and_others_as_without(cluster):
    settings = {
        "CALICO_DISABLE_FELIX": "", "CALICO_IPV4POOL_IPIP": "Never", "CALICO_IPV6POOL_CIDR": "fd16::/48",
        "FELIX_IPV6SUPPORT": "true", "IP6": "autodetect", "FELIX_HEALTHENABLED": "true",
        "FELIX_PROMETHEUSMETRICSENABLED": "true",
    }  # fmt: skip
    cluster.inside(WISH, "default", "on")
    trees = {
        name: cluster.start(name, number, address6=f"fd91::{number}/64", **settings)
        for name, number in (("w1", 1), ("w2", 2))
    }
    w1, w2 = trees["w1"], trees["w2"]

    def keys():
        found = json.loads(cluster.inside(KEYS).stdout)
        return found if len(found) == 2 else None

    published = until(lambda: (found := keys()) and all(all(each) for each in found.values()) and found, 90)
    assert len({key for each in published.values() for key in each[:2]}) == 4
    for name, tree in trees.items():
        until(lambda tree=tree: len(wg(tree, "wireguard.cali", "peers").splitlines()) == 1, 30)
        assert wg(tree, "wireguard.cali", "public-key").strip() == published[name][0]
        assert wg(tree, "wg-v6.cali", "public-key").strip() == published[name][1]
        assert wg(tree, "wireguard.cali", "listen-port").strip() == "51820"
        assert wg(tree, "wg-v6.cali", "listen-port").strip() == "51821"
        assert wg(tree, "wireguard.cali", "fwmark").strip() == "0x100000"
        for family in ("-4", "-6"):
            assert rules(tree, family) == ["99:\tnot from all fwmark 0x100000/0x100000 lookup 1"]
        link = json.loads(tree.enter("ip", "-j", "addr", "show", "wireguard.cali").stdout)[0]
        assert link["mtu"] == 1440
        until(
            lambda tree=tree, name=name: [
                address["local"]
                for address in json.loads(tree.enter("ip", "-4", "-j", "addr", "show", "wireguard.cali").stdout)[0]["addr_info"]
            ] == [published[name][2].partition("/")[0]],
            20,
        )  # fmt: skip
        assert (tree.root / "var/lib/calico/mtu").read_text() == "1420"

    # Pods, as far as routes go.
    blocks = until(
        lambda: (by := {(n, ":" in c): c for n, c in json.loads(cluster.inside(BLOCKS).stdout)}) and len(by) == 4 and by, 60
    )  # fmt: skip
    pairs = []
    for six in (False, True):
        ends = [str(ipaddress.ip_network(blocks[(name, six)])[9]) for name in trees]
        for tree, address in zip(trees.values(), ends, strict=True):
            tree.enter("ip", "addr", "add", f"{address}/{128 if six else 32}", "dev", "lo")
        pairs.append(ends)
    for six, device in ((False, "wireguard.cali"), (True, "wg-v6.cali")):
        family = "-6" if six else "-4"
        until(lambda: table(w1, family).get(blocks[("w2", six)]) == device, 30)  # noqa: B023
        assert table(w1, family)[blocks[("w1", six)]] == ""

    def talk(seconds=30):
        for here, there in pairs:
            until(lambda here=here, there=there: reaches(w1, here, there), seconds)
            assert reaches(w2, there, here)

    talk()
    watch = Watch(cluster, [address for ends in pairs for address in ends])
    for _ in range(5):
        talk()
    assert watch.end() == []
    received = wg(w1, "wireguard.cali", "transfer").split()[1]
    metrics = w1.enter("busybox", "wget", "-qO-", "http://127.0.0.1:9091/metrics").stdout
    own, other = published["w1"][0], published["w2"][0]
    assert (
        f'wireguard_meta{{hostname="w1",iface="wireguard.cali",listen_port="51820",public_key="{own}"}} 1.0'
        in metrics
    )
    labels = f'hostname="w1",peer_endpoint="10.91.0.2:51820",peer_key="{other}",public_key="{own}"'
    for name in ("wireguard_bytes_rcvd", "wireguard_bytes_sent", "wireguard_latest_handshake_seconds"):
        line = next(line for line in metrics.splitlines() if line.startswith(f"{name}{{{labels}}}"))
        assert float(line.split()[-1]) >= (float(received) if name.endswith("rcvd") else 1)

    # Felix starts over and finds everything as it left it.
    before = wg(w1, "all", "dump").split()[:3]
    w1.enter("sv", "restart", "/etc/service/enabled/felix")
    until(lambda: w1.calico_node("-felix-ready").returncode == 0, 30)
    assert wg(w1, "all", "dump").split()[:3] == before
    talk(3)

    # The device goes, with whoever served it: a new one with a new key, which the other node takes over.
    w1.enter("ip", "link", "del", "wireguard.cali")
    until(lambda: (now := keys()) and now["w1"][0] not in ("", published["w1"][0]), 30)
    until(lambda: wg(w2, "wireguard.cali", "peers").strip() == keys()["w1"][0], 30)
    talk()

    # Somebody else's hand is undone.
    w1.enter("ip", "rule", "del", "priority", "99")
    w1.enter("wg", "set", "wireguard.cali", "peer", keys()["w2"][0], "remove")
    w1.enter("ip", "route", "flush", "table", "1")
    w1.enter("ip", "addr", "add", "10.9.9.9/32", "dev", "wireguard.cali")
    until(lambda: "10.9.9.9" not in w1.enter("ip", "addr", "show", "wireguard.cali").stdout, 15)

    # A node without: to it and from it plainly, and nothing of WireGuard is left there.
    cluster.inside(WISH, "node.w2", "off")
    until(lambda: (now := keys()) and now["w2"][:2] == ["", ""] and all(now["w1"][:2]), 60)
    until(lambda: rules(w2) == [] and table(w2, "-4") == {} and table(w2, "-6") == {}, 30)
    assert w2.enter("ip", "link", "show", "wireguard.cali", check=False).returncode != 0
    until(lambda: set(table(w1, "-4").values()) | set(table(w1, "-6").values()) <= {""}, 120)
    assert wg(w1, "wireguard.cali", "peers") == ""
    watch = Watch(cluster, [address for ends in pairs for address in ends])
    talk()
    assert len(watch.end()) >= 4

    # And nowhere.
    cluster.inside(WISH, "default", "off")
    until(lambda: (now := keys()) and now["w1"][:2] == ["", ""], 60)
    until(lambda: rules(w1) == [] and rules(w1, "-6") == [] and table(w1, "-4") == {}, 30)
    assert "wireguard" not in w1.enter("ip", "link").stdout
    talk()


def test_hosts_encrypt_between_themselves_where_asked_to(cluster):
    cluster.inside(WISH, "default", "on")
    settings = {
        "CALICO_DISABLE_FELIX": "", "CALICO_IPV4POOL_IPIP": "Never", "FELIX_HEALTHENABLED": "true",
        "FELIX_WIREGUARDHOSTENCRYPTIONENABLED": "true",
    }  # fmt: skip
    w1, w2 = (cluster.start(name, number, **settings) for name, number in (("w1", 1), ("w2", 2)))
    for tree, other in ((w1, "10.91.0.2"), (w2, "10.91.0.1")):
        until(lambda tree=tree, other=other: table(tree, "-4").get(other) == "wireguard.cali", 90)
        assert tree.enter("sysctl", "-n", "net.ipv4.conf.all.src_valid_mark").stdout.strip() == "1"
    until(lambda: reaches(w1, "10.91.0.1", "10.91.0.2"), 30)
    watch = Watch(cluster, ["10.91.0.1 and icmp"])
    for _ in range(5):
        assert reaches(w1, "10.91.0.1", "10.91.0.2")
        assert reaches(w2, "10.91.0.2", "10.91.0.1")
    assert watch.end() == []
    until(lambda: [peer[5] for peer in w1.peers() + w2.peers()] == ["Established", "Established"], 60)

    # One of them forgot its peers: it would send plainly to who expects it encrypted, so it starts anew.
    key = wg(w1, "wireguard.cali", "public-key")
    w1.enter("sv", "down", "/etc/service/enabled/felix")
    w1.enter("wg", "set", "wireguard.cali", "peer", wg(w2, "wireguard.cali", "public-key").strip(), "remove")
    w1.enter("sv", "up", "/etc/service/enabled/felix")
    until(lambda: wg(w1, "wireguard.cali", "public-key") not in ("", key), 40)
    until(lambda: reaches(w1, "10.91.0.1", "10.91.0.2"), 40)
