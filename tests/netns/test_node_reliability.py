"""A whole node whose machine misbehaves: addresses that come and go, no room, no descriptors, no memory, kills."""

import contextlib
import os
import resource
import signal
import time
from pathlib import Path

import pytest
from test_node_tree import PREPARE, Cluster, until

pytestmark = pytest.mark.netns

#: More nodes, whose sessions w1's BIRD is to have.
ADD = """
import sys
from pycalico.datastore.open import open_client
client = open_client()
for number in sys.argv[1:]:
    node = {"apiVersion": "v1", "kind": "Node", "metadata": {
        "name": f"w{number}", "annotations": {"projectcalico.org/IPv4Address": f"10.91.0.{number}/24"}}}
    client.rest.create("/api/v1/nodes", node, dict)
"""
#: A configuration of a megabyte.
LARGE = """
from pycalico.api.meta import ObjectMeta
from pycalico.api.v3.bgpconfiguration import BGPConfiguration, BGPConfigurationSpec, PrefixAdvertisement
from pycalico.datastore.open import open_client
values = [f"{number // 65536}:{number % 65536}" for number in range(100_000)]
spec = BGPConfigurationSpec(prefix_advertisements=[PrefixAdvertisement(cidr="10.0.0.0/8", communities=values)])
open_client().create(BGPConfiguration(metadata=ObjectMeta(name="default"), spec=spec))
"""
SERVICES = (
    ("calico-node", "-felix"), ("calico-node", "-confd"), ("calico-node", "-monitor-addresses"),
    ("calico-node", "-allocate-tunnel-addrs"), ("calico-node", "-status-reporter"), ("calico-node", "-monitor-token"),
    ("calico-cni-agent",), ("bird", "-R"), ("bird6", "-R"),
)  # fmt: skip
BACK_S = 2.0
FELIX = {"CALICO_DISABLE_FELIX": "", "CALICO_IPV4POOL_IPIP": "Never", "CALICO_IPV4POOL_VXLAN": "Always",
         "FELIX_HEALTHENABLED": "true"}  # fmt: skip


@pytest.fixture
def cluster(tmp_path):
    made = Cluster(tmp_path)
    try:
        made.start_server()
        made.inside(PREPARE)
        yield made
    finally:
        made.close()


def pid_of(tree, words):
    found = [pid for pid, shown in tree.processes().items() if tuple(shown[: len(words)]) == words]
    return found[0] if found else None


def sessions(tree):
    return {peer[0]: peer[5] for peer in tree.peers()}


def both_up(*trees):
    return until(lambda: all(set(sessions(tree).values()) == {"Established"} for tree in trees), 60)


def limit(pid, which, value):
    """The soft limit alone."""
    resource.prlimit(pid, which, (value, resource.prlimit(pid, which)[1]))


def configuration(tree):
    return {path.name: path.read_text() for path in (tree.root / "etc/calico/confd/config").glob("*.cfg")}


def test_a_link_that_appears_moves_no_node_and_a_lost_address_is_made_up_for(cluster):
    w1, w2 = cluster.start("w1", 1), cluster.start("w2", 2)
    both_up(w1, w2)
    w1.enter("ip", "link", "add", "vpn0", "type", "veth", "peer", "name", "vpn1")
    w1.enter("ip", "addr", "add", "10.8.0.2/24", "dev", "vpn0")
    w1.enter("ip", "link", "set", "vpn0", "up")
    # The newest link comes first for first-found, as upstream looks.
    until(lambda: "vpn0 10.8.0.2/24, eth0 10.91.0.1/24" in (cluster.folder / "w1.log").read_text())
    time.sleep(2.5)
    assert sessions(w2) == {"Mesh_10_91_0_1": "Established"}
    assert (cluster.folder / "w2.log").read_text().count("Mesh_10_91_0_1: State changed to up") == 1

    began = time.monotonic()
    w1.enter("ip", "addr", "del", "10.91.0.1/24", "dev", "eth0")
    w1.enter("ip", "addr", "add", "10.91.0.11/24", "dev", "eth0")
    until(lambda: sessions(w2) == {"Mesh_10_91_0_11": "Established"})
    took_s = time.monotonic() - began
    print(f"the session with the new address: after {took_s:.1f} s")
    assert took_s < 10


def test_what_a_service_lacks_costs_nobody_else(cluster):
    w1, w2 = cluster.start("w1", 1, **FELIX), cluster.start("w2", 2)
    both_up(w1, w2)
    log = cluster.folder / "w1.log"

    # Each killed, as the kernel does when memory is short.
    until(lambda: all(pid_of(w1, words) for words in SERVICES))
    for words in SERVICES:
        before = pid_of(w1, words)
        os.kill(before, signal.SIGKILL)
        began = time.monotonic()
        until(lambda: pid_of(w1, words) not in (None, before))  # noqa: B023
        assert time.monotonic() - began < BACK_S, words
    both_up(w1, w2)

    # A few descriptors do; without any, the files stay as they are until there are some again.
    for words in SERVICES:
        limit(pid_of(w1, words), resource.RLIMIT_NOFILE, 64)
    confd = pid_of(w1, ("calico-node", "-confd"))
    cluster.inside(ADD, "3")
    until(lambda: "Mesh_10_91_0_3" in sessions(w1))
    kept = configuration(w1)
    limit(confd, resource.RLIMIT_NOFILE, len(list(Path(f"/proc/{confd}/fd").iterdir())))
    cluster.inside(ADD, "4")
    until(lambda: "Too many open files" in log.read_text())
    assert configuration(w1) == kept
    limit(confd, resource.RLIMIT_NOFILE, 64)
    until(lambda: "Mesh_10_91_0_4" in sessions(w1))

    # No memory for one large object: that one is told of, others go on.
    limit(confd, resource.RLIMIT_AS, 1024 * int(value_of(confd, "VmSize")))
    cluster.inside(LARGE)
    until(lambda: "BGPConfiguration: the feed failed" in log.read_text())
    cluster.inside(ADD, "5")
    until(lambda: "Mesh_10_91_0_5" in sessions(w1))
    # Seldom its loop is the one that asks for memory while the large object has all of it: then it starts anew, and says why.
    now = pid_of(w1, ("calico-node", "-confd"))
    assert now == confd or "calico-node -confd: out of memory" in log.read_text()
    limit(now, resource.RLIMIT_AS, resource.RLIM_INFINITY)

    # What cannot be written to is told of, and not needed for routes.
    w1.enter("mount", "--bind", "/run/calico", "/run/calico")
    w1.enter("mount", "-o", "remount,bind,ro", "/run/calico")
    cluster.inside(ADD, "6")
    until(lambda: "Mesh_10_91_0_6" in sessions(w1))
    assert "cannot write /var/run/calico/confd.json: Read-only file system" in log.read_text()
    os.kill(pid_of(w1, ("calico-cni-agent",)), signal.SIGKILL)
    until(lambda: "cannot listen on /var/run/calico/cni-agent.sock: Read-only file system" in log.read_text())
    w1.enter("umount", "/run/calico")
    until(lambda: pid_of(w1, ("calico-cni-agent",)) and (w1.root / "run/calico/cni-agent.sock").exists())

    # One that is stopped: it alone is not live.
    for words, flag, said in (
        (("bird", "-R"), "-bird-live", "bird is not live: timed out reading from BIRD"),
        (("calico-node", "-felix"), "-felix-live", "context deadline exceeded"),
    ):
        with stopped(pid_of(w1, words)):
            answer = w1.calico_node("-threshold-time=3s", flag)
            assert answer.returncode == 1
            assert answer.stdout.startswith(f"calico/node is not ready: {said}")
        until(lambda: w1.calico_node(flag).returncode == 0)  # noqa: B023
    both = ["Mesh_10_91_0_2"]
    until(lambda: [name for name, state in sessions(w1).items() if state == "Established"] == both)
    # Nothing that ended did so with a trace of calls.
    assert "Traceback" not in log.read_text()


def value_of(pid, name):
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(line.split()[1] for line in lines if line.startswith(f"{name}:"))


@contextlib.contextmanager
def stopped(pid):
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)
