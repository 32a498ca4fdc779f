"""Three BIRDs in network namespaces, configured by confd's loop from a datastore."""

import contextlib
import os
import signal
import subprocess
import threading
import time

import pytest

from pycalico.api.meta import ObjectMeta
from pycalico.api.v3.bgpconfiguration import BGPConfiguration, BGPConfigurationSpec
from pycalico.api.v3.ipam import BlockAffinity, BlockAffinitySpec
from pycalico.api.v3.ippool import IPPool, IPPoolSpec
from pycalico.api.v3.node import Node, NodeBGPSpec, NodeSpec
from pycalico.bgp import birdctl
from pycalico.bgp.inputs import Settings
from pycalico.confd.files import ConfigDirectory
from pycalico.confd.loop import Loop
from pycalico.confd.reload import Reloader
from pycalico.datastore.memory import MemoryClient

pytestmark = pytest.mark.netns


def run(*words, check=True):
    return subprocess.run(words, check=check, capture_output=True, text=True)


def until(what, seconds=20.0):
    deadline = time.monotonic() + seconds
    while True:
        with contextlib.suppress(birdctl.BirdError):
            found = what()
            if found:
                return found
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.1)


class Member:
    """One node: a namespace on the common bridge, its confd loop and its BIRD."""

    def __init__(self, net, number):
        self.name = f"n{number}"
        self.ns = f"{net.prefix}{number}"
        self.address = f"10.90.0.{number}"
        self.block = f"172.16.{number}.0/24"
        self.folder = net.directory
        self.directory = net.directory / self.name
        self.socket = str(net.directory / f"{self.name}.ctl")
        run("ip", "netns", "add", self.ns)
        net.namespaces.append(self.ns)
        run("ip", "-n", self.ns, "link", "set", "lo", "up")
        port = f"{net.prefix}p{number}"
        run(
            "ip",
            "link",
            "add",
            port,
            "netns",
            net.bridge,
            "type",
            "veth",
            "peer",
            "name",
            "eth0",
            "netns",
            self.ns,
        )
        run("ip", "-n", net.bridge, "link", "set", port, "master", "br0", "up")
        run("ip", "-n", self.ns, "addr", "add", f"{self.address}/24", "dev", "eth0")
        run("ip", "-n", self.ns, "link", "set", "eth0", "up")
        net.client.create(
            Node(
                metadata=ObjectMeta(name=self.name),
                spec=NodeSpec(bgp=NodeBGPSpec(ipv4_address=f"{self.address}/24")),
            )
        )
        net.client.create(
            BlockAffinity(
                metadata=ObjectMeta(name=f"{self.name}-block"),
                spec=BlockAffinitySpec(state="confirmed", node=self.name, cidr=self.block),
            )
        )
        self.loop = Loop(
            net.client,
            Settings(node=self.name, felix_routes=True),
            ConfigDirectory(self.directory),
            Reloader({4: self.socket, 6: str(net.directory / f"{self.name}.none")}),
        )
        self.thread = threading.Thread(target=self.loop.run)
        self.thread.start()
        until((self.directory / "bird.cfg").exists)
        self.log = (net.directory / f"{self.name}.log").open("w")
        self.bird = subprocess.Popen(
            [
                "ip",
                "netns",
                "exec",
                self.ns,
                "bird",
                "-R",
                "-s",
                self.socket,
                "-d",
                "-c",
                self.directory / "bird.cfg",
            ],
            stdout=self.log,
            stderr=self.log,
        )

    def peers(self):
        return {peer.name: peer for peer in birdctl.peers(4, path=self.socket)}

    def established(self, *names):
        peers = self.peers()
        return set(peers) == set(names) and all(peer.established for peer in peers.values()) and peers

    def starts(self, name):
        """How often the session came up; the since column is no proof, it wavers by a second."""
        return (self.folder / f"{self.name}.log").read_text().count(f"{name}: State changed to up")

    def routes(self, prefix):
        return birdctl.parse_routes(birdctl.ask(4, f"show route {prefix}", path=self.socket))

    def stop(self):
        self.loop.stop()
        self.thread.join(10)
        self.bird.terminate()
        self.bird.wait(10)
        self.log.close()


class Net:
    def __init__(self, directory):
        self.directory = directory
        self.prefix = f"bm{os.getpid() % 100000}x"
        self.client = MemoryClient()
        self.bridge = f"{self.prefix}b"
        run("ip", "netns", "add", self.bridge)
        self.namespaces = [self.bridge]
        self.members = {}
        run("ip", "-n", self.bridge, "link", "add", "br0", "type", "bridge")
        run("ip", "-n", self.bridge, "link", "set", "br0", "up")
        self.client.create(
            IPPool(
                metadata=ObjectMeta(name="pool"),
                spec=IPPoolSpec(cidr="172.16.0.0/16", ipip_mode="Always", block_size=24),
            )
        )

    def add(self, number):
        self.members[number] = Member(self, number)
        return self.members[number]

    def close(self):
        for member in self.members.values():
            member.stop()
        for name in self.namespaces:
            run("ip", "netns", "del", name, check=False)


@pytest.fixture
def net(tmp_path):
    made = Net(tmp_path)
    try:
        yield made
    finally:
        made.close()


def test_mesh_grows_and_shrinks_without_touching_other_sessions(net):
    one, two = net.add(1), net.add(2)
    until(lambda: one.established("Mesh_10_90_0_2") and two.established("Mesh_10_90_0_1"))

    found = until(lambda: one.routes(two.block))
    assert [(r.target, r.gateway, r.protocol, r.preference) for r in found] == [
        ("via", "10.90.0.2", "Mesh_10_90_0_2", "100/0")
    ]
    [own] = one.routes(one.block)
    assert (own.target, own.protocol, own.preference, own.primary) == ("blackhole", "static1", "200", True)
    # The kernel's routes to the pool are Felix's: BIRD puts none there.
    assert "172.16." not in run("ip", "-n", one.ns, "route").stdout

    # A route that Felix wrote is not passed on as if it were ours.
    run(
        "ip",
        "-n",
        one.ns,
        "route",
        "add",
        two.block,
        "via",
        two.address,
        "dev",
        "eth0",
        "onlink",
        "proto",
        "80",
    )

    three = net.add(3)
    until(lambda: one.established("Mesh_10_90_0_2", "Mesh_10_90_0_3"))
    assert one.starts("Mesh_10_90_0_2") == 1
    until(lambda: {r.protocol for r in three.routes(two.block)} == {"Mesh_10_90_0_2"})
    time.sleep(2.5)  # BIRD scans the kernel's table every 2 s
    assert [r.protocol for r in three.routes(two.block)] == ["Mesh_10_90_0_2"]

    net.client.delete(Node, "n3")
    until(lambda: one.established("Mesh_10_90_0_2"))
    assert one.starts("Mesh_10_90_0_2") == 1


def test_mesh_off_ends_sessions_and_bad_input_changes_nothing(net):
    one, two = net.add(1), net.add(2)
    until(lambda: one.established("Mesh_10_90_0_2") and two.established("Mesh_10_90_0_1"))

    hostile = IPPool(
        metadata=ObjectMeta(name="hostile"), spec=IPPoolSpec(cidr='10.0.0.0/8; } include "/etc/passwd"; #')
    )
    net.client.create(hostile)
    net.client.create(
        Node(
            metadata=ObjectMeta(name="n9\n}; protocol static { route 9.9.9.0/24 blackhole; }"),
            spec=NodeSpec(bgp=NodeBGPSpec(ipv4_address="10.90.0.9/24")),
        )
    )
    until(lambda: "Mesh_10_90_0_9" in one.peers())
    assert one.routes("9.9.9.0/24") == []
    assert one.starts("Mesh_10_90_0_2") == 1

    net.client.create(
        BGPConfiguration(
            metadata=ObjectMeta(name="default"), spec=BGPConfigurationSpec(node_to_node_mesh_enabled=False)
        )
    )
    until(lambda: one.peers() == {})


def test_a_hung_bird_is_noticed_and_a_killed_one_keeps_its_routes_elsewhere(net):
    one, two = net.add(1), net.add(2)
    until(lambda: one.established("Mesh_10_90_0_2") and two.established("Mesh_10_90_0_1"))
    until(lambda: two.routes(one.block))
    # A BIRD that hangs is told from one that answers, in bounded time.
    os.kill(one.bird.pid, signal.SIGSTOP)
    began = time.monotonic()
    with pytest.raises(birdctl.BirdError, match="timed out"):
        one.peers()
    assert time.monotonic() - began < 4
    os.kill(one.bird.pid, signal.SIGCONT)
    assert one.peers()

    one.bird.kill()
    one.bird.wait(10)
    time.sleep(0.5)
    assert two.routes(one.block), "graceful restart keeps the routes of a BIRD that died"
