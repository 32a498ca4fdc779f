"""Nodes with a real BIRD each, configured by confd's own loop, on any topology of segments and routers.

A ``Plan`` says what there is; ``World`` makes it of network namespaces and takes it down again. Every segment is a
bridge in one namespace that routes between them, as a datacentre's fabric would.
"""

import contextlib
import itertools
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from pycalico.api.meta import ObjectMeta
from pycalico.api.v3.ipam import BlockAffinity, BlockAffinitySpec
from pycalico.api.v3.ippool import IPPool, IPPoolSpec
from pycalico.api.v3.node import Node, NodeBGPSpec, NodeSpec
from pycalico.bgp import birdctl, daemon
from pycalico.bgp.inputs import Settings
from pycalico.confd.files import ConfigDirectory
from pycalico.confd.loop import Loop
from pycalico.confd.reload import Reloader
from pycalico.datastore.memory import MemoryClient

_SERIAL = itertools.count()
_PHASES = itertools.count()
#: BIRD counts whole seconds of the monotonic clock. Of real machines no two have them begin at the same moment; on one
#: kernel both ends of a session would connect in the same instant, time and again. The argument: nanoseconds off.
_PHASE = """
import ctypes, os, sys
if ctypes.CDLL(None).unshare(0x80):
    sys.exit("no time namespaces")
with open("/proc/self/timens_offsets", "w") as file:
    file.write("monotonic 1000 " + sys.argv[1])
os.execvp(sys.argv[2], sys.argv[2:])
"""


def run(*words, check=True):
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True)
    assert not check or not done.returncode, f"{words}: {done.stdout}{done.stderr}"
    return done.stdout


def until(what, seconds=20.0, step_s=0.02):
    """Returns (found, after how many seconds)."""
    began = time.monotonic()
    while True:
        with contextlib.suppress(birdctl.BirdError, OSError):
            found = what()
            if found:
                return found, time.monotonic() - began
        assert time.monotonic() - began < seconds, f"not within {seconds} s: {what}"
        time.sleep(step_s)


@dataclass
class Member:
    """``block4``, ``block6``: what the node announces. ``spec``: more of the Node's BGP part."""

    name: str
    segment: str
    host: int
    labels: dict = field(default_factory=dict)
    spec: dict = field(default_factory=dict)
    number: int = 0


@dataclass
class Plan:
    """``segments``: name → number n; its networks are 10.80.n.0/24 and fd80:n::/64, its router .254 and ::fe."""

    segments: dict
    members: list
    families: tuple = (4,)
    resources: list = field(default_factory=list)


class Speaker:
    """A BIRD in a namespace. ``program`` and ``family`` say which one."""

    def __init__(self, namespace, family, config, folder, program=None):
        self.namespace, self.family, self.config = namespace, family, config
        self.socket = str(folder / f"{namespace}-{family}.ctl")
        self.log_path = folder / f"{namespace}-{family}.log"
        self.program = program or daemon.PROGRAMS[family]
        self.process = None
        self.phase = next(_PHASES) * 137_000_000 % 1_000_000_000

    def start(self):
        with self.log_path.open("a") as log:
            words = ["ip", "netns", "exec", self.namespace, sys.executable, "-S", "-c", _PHASE, self.phase,
                     self.program, "-R", "-s", self.socket, "-d", "-c", self.config]  # fmt: skip
            self.process = subprocess.Popen([str(word) for word in words], stdout=log, stderr=log)

    def kill(self, number=signal.SIGKILL):
        self.process.send_signal(number)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(10)

    def ask(self, command):
        return birdctl.ask(self.family, command, path=self.socket)

    def peers(self):
        return {peer.name: peer for peer in birdctl.peers(self.family, path=self.socket)}

    def established(self):
        return {name for name, peer in self.peers().items() if peer.established}

    def routes(self, more=""):
        """destination → set of (target, gateway, origin), paths in use alone."""
        found = {}
        for route in birdctl.parse_routes(self.ask(f"show route primary {more}")):
            found.setdefault(route.destination, set()).add((route.target, route.gateway, route.protocol))
        return found

    def starts(self, name):
        """How often the session came up; a new filter alone has BIRD feed it anew."""
        return self.log_path.read_text().count(f"{name}: Connected to table")


class NodeRig:
    """One node: namespace, confd's loop in a thread, a BIRD per family."""

    def __init__(self, world, member):
        self.world, self.member, self.name = world, member, member.name
        number = world.plan.segments[member.segment]
        self.addresses = {4: f"10.80.{number}.{member.host}", 6: f"fd80:{number}::{member.host:x}"}
        self.blocks = {4: f"172.16.{member.number}.0/24", 6: f"fd16:{member.number:x}::/64"}
        self.namespace = world.namespace(member.name, member.segment, self.addresses)
        self.directory = world.folder / member.name
        self.birds = {
            family: Speaker(self.namespace, family, self.directory / name, world.folder)
            for family, name in ((4, "bird.cfg"), (6, "bird6.cfg"))
            if family in world.plan.families
        }
        self.loop = self.thread = None
        self.register()
        self.start_confd()
        until((self.directory / "bird6.cfg").exists)
        for bird in self.birds.values():
            bird.start()

    def register(self):
        addresses = {}
        for family, key, bits in ((4, "ipv4_address", 24), (6, "ipv6_address", 64)):
            if family in self.world.plan.families:
                addresses[key] = f"{self.addresses[family]}/{bits}"
                self.world.client.create(
                    BlockAffinity(
                        metadata=ObjectMeta(name=f"{self.name}-{family}"),
                        spec=BlockAffinitySpec(state="confirmed", node=self.name, cidr=self.blocks[family]),
                    )
                )
        self.world.client.create(
            Node(
                metadata=ObjectMeta(name=self.name, labels=self.member.labels),
                spec=NodeSpec(bgp=NodeBGPSpec(**addresses, **self.member.spec)),
            )
        )

    def start_confd(self):
        sockets = {family: str(self.world.folder / f"{self.namespace}-{family}.ctl") for family in (4, 6)}
        settings = Settings(node=self.name, felix_routes=True)
        self.loop = Loop(
            self.world.client,
            settings,
            ConfigDirectory(self.directory),
            Reloader(sockets),
            service_client=self.world.client,
            secrets=self.world.secrets,
            status_file=self.directory / "status.json",
        )
        self.thread = threading.Thread(target=self.loop.run)
        self.thread.start()

    def stop_confd(self):
        self.loop.stop()
        self.thread.join(10)

    def link(self, state):
        run("ip", "-n", self.namespace, "link", "set", "eth0", state)
        if state == "up":
            self.world.address(self.namespace, self.member.segment, self.addresses)

    def stop(self):
        self.stop_confd()
        for bird in self.birds.values():
            if bird.process and bird.process.poll() is None:
                bird.kill(signal.SIGTERM)

    def kernel(self, family=4):
        return run("ip", f"-{family}", "-n", self.namespace, "route")


class World:
    """``router``, if given, makes of the world a neighbour that is there before the nodes; it becomes ``first``."""

    def __init__(self, plan, folder, secrets=None, router=None):
        self.plan, self.folder, self.secrets, self.first = plan, Path(folder), secrets, router
        self.prefix = f"bw{os.getpid() % 100000}.{next(_SERIAL)}"
        self.client = MemoryClient()
        self.nodes, self.speakers, self._namespaces, self._processes = {}, [], [], []
        self._number = itertools.count(1)
        self.fabric = f"{self.prefix}f"

    def __enter__(self):
        try:
            self._make_fabric()
            if self.first:
                self.first = self.first(self)
            for member in self.plan.members:
                self.add(member)
        except BaseException:
            self.__exit__()
            raise
        return self

    def _make_fabric(self):
        run("ip", "netns", "add", self.fabric)
        self._namespaces.append(self.fabric)
        for key in ("net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"):
            run("ip", "netns", "exec", self.fabric, "sysctl", "-qw", f"{key}=1")
        for name, number in self.plan.segments.items():
            # A bridge without an address of its own changes it with every cable, and its neighbours lose their router.
            mac = f"02:00:00:00:00:{number:02x}"
            run("ip", "-n", self.fabric, "link", "add", "name", name, "address", mac, "type", "bridge")
            run("ip", "-n", self.fabric, "addr", "add", f"10.80.{number}.254/24", "dev", name)
            run("ip", "-n", self.fabric, "addr", "add", f"fd80:{number}::fe/64", "dev", name, "nodad")
            run("ip", "-n", self.fabric, "link", "set", name, "up")
        pools = [("pool4", "172.16.0.0/16", 24), ("pool6", "fd16::/16", 64)]
        for name, cidr, size in pools:
            spec = IPPoolSpec(cidr=cidr, block_size=size, nat_outgoing=False)
            self.client.create(IPPool(metadata=ObjectMeta(name=name), spec=spec))
        for resource in self.plan.resources:
            self.client.create(resource)

    def __exit__(self, *_):
        for node in self.nodes.values():
            node.stop()
        for speaker in self.speakers:
            speaker.kill()
        for process in self._processes:
            process.kill()
            process.wait(10)
        for name in self._namespaces:
            run("ip", "netns", "del", name, check=False)

    def add(self, member):
        member.number = member.number or next(self._number)
        self.nodes[member.name] = NodeRig(self, member)
        return self.nodes[member.name]

    def remove(self, name):
        """The node is switched off and taken out of the datastore."""
        node = self.nodes.pop(name)
        node.stop()
        self.client.delete(Node, name)
        for family in self.plan.families:
            self.client.delete(BlockAffinity, f"{name}-{family}")

    def namespace(self, name, segment, addresses):
        namespace = f"{self.prefix}{name}"
        run("ip", "netns", "add", namespace)
        self._namespaces.append(namespace)
        run("ip", "-n", namespace, "link", "set", "lo", "up")
        port = f"p{len(self._namespaces)}"
        run("ip", "link", "add", port, "netns", self.fabric, "type", "veth",
            "peer", "name", "eth0", "netns", namespace)  # fmt: skip
        run("ip", "-n", self.fabric, "link", "set", port, "master", segment, "up")
        # As nodes have it: forwarding, several paths chosen by flow.
        for key in (
            "net.ipv4.ip_forward",
            "net.ipv6.conf.all.forwarding",
            "net.ipv4.fib_multipath_hash_policy",
        ):
            run("ip", "netns", "exec", namespace, "sysctl", "-qw", f"{key}=1")
        self.address(namespace, segment, addresses)
        return namespace

    def port(self, name):
        """The fabric's end of a node's cable: taken down, the node hears nothing and notices nothing."""
        return f"p{self._namespaces.index(f'{self.prefix}{name}') + 1}"

    def cable(self, name, state):
        # A bridge port that blocks leaves the carrier at the node's end up.
        number = {"up": "3", "down": "0"}[state]
        run("bridge", "-n", self.fabric, "link", "set", "dev", self.port(name), "state", number)

    def address(self, namespace, segment, addresses):
        number = self.plan.segments[segment]
        run("ip", "-n", namespace, "link", "set", "eth0", "up")
        run("ip", "-n", namespace, "addr", "replace", f"{addresses[4]}/24", "dev", "eth0")
        run("ip", "-n", namespace, "addr", "replace", f"{addresses[6]}/64", "dev", "eth0", "nodad")
        run("ip", "-n", namespace, "route", "replace", "default", "via", f"10.80.{number}.254")
        run("ip", "-n", namespace, "route", "replace", "default", "via", f"fd80:{number}::fe")

    def router(self, name, segment, host, config, family=4, program=None):
        """A neighbour that is no node: a BIRD with a configuration of its own (``{address}`` is its address)."""
        number = self.plan.segments[segment]
        addresses = {4: f"10.80.{number}.{host}", 6: f"fd80:{number}::{host:x}"}
        namespace = self.namespace(name, segment, addresses)
        path = self.folder / f"{name}.conf"
        path.write_text(config.replace("{address}", addresses[family]))
        speaker = Speaker(namespace, family, path, self.folder, program)
        speaker.start()
        self.speakers.append(speaker)
        return speaker

    def process(self, namespace, *words):
        """Runs beside the nodes until the end."""
        self._processes.append(subprocess.Popen(["ip", "netns", "exec", namespace, *map(str, words)]))
        return self._processes[-1]

    def mesh_is_up(self, family=4):
        """Every node has a session with every other."""
        return all(
            len(node.birds[family].established()) == len(self.nodes) - 1 for node in self.nodes.values()
        )

    def blocks_are_known(self, family=4):
        """Every node has each node's block: the own one as a blackhole, others towards their node."""
        return all(not self.unknown(node, family) for node in self.nodes.values())

    def unknown(self, node, family=4):
        routes = node.birds[family].routes()
        wanted = {other.blocks[family] for other in self.nodes.values()}
        known = {cidr for cidr in routes if cidr.startswith(("172.16.", "fd16:"))}
        wrong = wanted ^ known
        for other in self.nodes.values():
            found = routes.get(other.blocks[family], set())
            if other is node:
                good = {("blackhole", "", "static1")} <= found
            else:
                good = bool(found) and all(target == "via" for target, _, _ in found)
            if not good:
                wrong.add(other.blocks[family])
        return wrong
