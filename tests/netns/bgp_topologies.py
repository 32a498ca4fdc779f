"""The topologies that are tried: nodes, neighbours that are no nodes, and the routes that everybody must have."""

import json
import os
import signal
import socket
import subprocess
from pathlib import Path

from bgp_rig import Member, Plan, run, until

from pycalico.api.meta import ObjectMeta
from pycalico.api.v3.bgpconfiguration import BGPConfiguration, BGPConfigurationSpec, ServiceIPBlock
from pycalico.api.v3.bgppeer import BGPPeer, BGPPeerSpec
from pycalico.api.v3.kubernetes import (
    EndpointConditions,
    KubernetesEndpointSlice,
    KubernetesService,
    ServiceSpec,
    SliceEndpoint,
)

NEIGHBOURS = Path(__file__).parents[2] / ".neighbours"
ROUTER_AS = 65000
OUTSIDE = {4: "198.51.100.0/24", 6: "fd98:100::/64"}
SERVICE_RANGE, SERVICE = "10.96.0.0/16", "10.96.5.5"


def configuration(**spec):
    return BGPConfiguration(metadata=ObjectMeta(name="default"), spec=BGPConfigurationSpec(**spec))


def peer(name, **spec):
    return BGPPeer(metadata=ObjectMeta(name=name), spec=BGPPeerSpec(**spec))


def mesh(count, families=(4,)):
    return Plan({"rack1": 1}, [Member(f"n{n}", "rack1", n) for n in range(1, count + 1)], families)


def racks():
    """Two racks, each with a route reflector that serves its nodes; the reflectors know each other."""
    members, peers = [], []
    for rack in (1, 2):
        reflector = {"rack": str(rack), "reflector": "yes"}
        spec = {"route_reflector_cluster_id": f"1.0.0.{rack}"}
        members.append(Member(f"r{rack}", f"rack{rack}", 1, reflector, spec))
        members += [Member(f"w{rack}{n}", f"rack{rack}", n, {"rack": str(rack)}) for n in (2, 3, 4)]
        peers.append(
            peer(
                f"rack{rack}",
                node_selector=f"rack == '{rack}' && !has(reflector)",
                peer_selector=f"rack == '{rack}' && has(reflector)",
            )
        )
    peers.append(peer("reflectors", node_selector="has(reflector)", peer_selector="has(reflector)"))
    return Plan(
        {"rack1": 1, "rack2": 2}, members, resources=[configuration(node_to_node_mesh_enabled=False), *peers]
    )


def top_of_rack(count=4, families=(4,), **settings):
    """Every node has an AS of its own and one neighbour, the router of its rack."""
    members = [Member(f"n{n}", "rack1", n, spec={"as_number": 64600 + n}) for n in range(1, count + 1)]
    resources = [configuration(node_to_node_mesh_enabled=False, **settings)]
    resources.append(peer("router4", peer_ip="10.80.1.200", as_number=ROUTER_AS))
    if 6 in families:
        resources.append(peer("router6", peer_ip="fd80:1::c9", as_number=ROUTER_AS))
    return Plan({"rack1": 1}, members, families, resources)


def services():
    """A service with externalTrafficPolicy Local and endpoints on two of three nodes."""
    plan = top_of_rack(3, service_cluster_ips=[ServiceIPBlock(cidr=SERVICE_RANGE)])
    plan.resources.append(
        KubernetesService(
            metadata=ObjectMeta(name="web", namespace="default"),
            spec=ServiceSpec(type="LoadBalancer", cluster_ip=SERVICE, external_traffic_policy="Local"),
        )
    )
    plan.resources.append(slice_on("n1", "n2"))
    return plan


def slice_on(*nodes):
    ready = EndpointConditions(ready=True)
    return KubernetesEndpointSlice(
        metadata=ObjectMeta(name="web-1", namespace="default", labels={"kubernetes.io/service-name": "web"}),
        address_type="IPv4",
        endpoints=[SliceEndpoint(["172.16.1.9"], ready, node) for node in nodes],
    )


class BirdRouter:
    """A BIRD 1.6 or 2 as the router of a rack: knows each node by address and AS, announces OUTSIDE.

    As routers with dynamic neighbours do, it lets the nodes connect.
    """

    def __init__(self, world, family=4, version=1):
        self.world, self.family, self.version = world, family, version
        program = str(NEIGHBOURS / "usr/sbin/bird") if version == 2 else None
        self.speaker = world.router(
            f"tor{family}", "rack1", 200 if family == 4 else 201, self.config(), family, program
        )

    def config(self):
        family, two = self.family, self.version == 2
        open_channel, close_channel = (f"ipv{family} {{", "};") if two else ("", "")
        channel_line = f"ipv{family};" if two else ""
        sessions = "".join(
            f"protocol bgp {node.name} {{ local as {ROUTER_AS}; graceful restart; passive on;"
            f" neighbor {node.addresses[family]} as {node.member.spec['as_number']};"
            f" {open_channel} import all; export all; {close_channel} }}\n"
            for node in self.world.nodes.values()
        )
        return (
            f"router id 10.80.1.200;\nprotocol device {{ scan time 2; }}\n"
            f"protocol direct {{ {channel_line} }}\n"
            f"protocol kernel {{ {open_channel} import none; export all; {close_channel} merge paths on; }}\n"
            f"protocol static {{ {channel_line} route {OUTSIDE[family]} blackhole; }}\n{sessions}"
        )

    def reload(self):
        """Its operator has added or taken away a node."""
        self.speaker.config.write_text(self.config())
        self.speaker.ask("configure")

    def next_hops(self, prefix):
        """What its kernel does with the prefix."""
        namespace = self.speaker.namespace
        found = json.loads(
            run("ip", f"-{self.family}", "-n", namespace, "-j", "route", "show", prefix) or "[]"
        )
        hops = [hop["gateway"] for route in found for hop in route.get("nexthops", []) if "gateway" in hop]
        return set(hops + [route["gateway"] for route in found if "gateway" in route])

    @property
    def namespace(self):
        return self.speaker.namespace


#: FRR wants a group that its package would make.
_GROUP = 'mount --bind "$1" /etc/group; shift; exec "$@"'


class FrrRouter:
    """FRR in the same place. It is there before the nodes, as routers are: BIRD waits after a refused connection."""

    def __init__(self, world):
        self.world = world
        addresses = {4: "10.80.1.200", 6: "fd80:1::c8"}
        self.namespace = world.namespace("tor4", "rack1", addresses)
        self.folder = world.folder / "frr"
        self.folder.mkdir()
        # FRR saves up what it has for a new neighbour for a second, or for what coalesce-time says.
        lines = [f"router bgp {ROUTER_AS}", " bgp router-id 10.80.1.200", " no bgp ebgp-requires-policy",
                 " coalesce-time 100", " bgp graceful-restart", " bgp bestpath as-path multipath-relax"]  # fmt: skip
        lines += [line for member in world.plan.members for line in self._neighbor(member)]
        lines += [" address-family ipv4 unicast", f"  network {OUTSIDE[4]}", " exit-address-family"]
        (self.folder / "bgpd.conf").write_text("\n".join(lines) + "\n")
        (self.folder / "zebra.conf").write_text("")
        (self.folder / "staticd.conf").write_text(f"ip route {OUTSIDE[4]} blackhole\n")
        libraries = NEIGHBOURS / "usr/lib/x86_64-linux-gnu"
        self.environ = {**os.environ, "LD_LIBRARY_PATH": f"{libraries}:{libraries}/frr"}
        self.processes = []
        groups = self.folder / "group"
        groups.write_text(Path("/etc/group").read_text() + "frrvty:x:64999:root\n")
        for name in ("zebra", "staticd", "bgpd"):
            config = self.folder / f"{name}.conf"
            words = ["ip", "netns", "exec", self.namespace, "unshare", "-m", "sh", "-c", _GROUP, "sh", groups, NEIGHBOURS / "usr/lib/frr" / name, "-u", "root",
                     "-g", "root", "-f", config, "-i", self.folder / f"{name}.pid", "-z", self.folder / "zserv",
                     "--vty_socket", self.folder, "-P", "0"]  # fmt: skip
            log = (self.folder / f"{name}.log").open("w")
            self.processes.append(
                subprocess.Popen([str(word) for word in words], env=self.environ, stdout=log, stderr=log)
            )
            # Who finds no zebra tries again after ten seconds.
            until((self.folder / "zserv").exists)
        world.speakers.append(self)

    def _neighbor(self, member):
        address = f"10.80.{self.world.plan.segments[member.segment]}.{member.host}"
        return [f" neighbor {address} remote-as {member.spec['as_number']}", f" neighbor {address} passive"]

    def kill(self, number=signal.SIGKILL):
        for process in self.processes:
            process.send_signal(number)
            process.wait(10)

    def reload(self):
        """By bgpd's own terminal, since vtysh wants a PAM that knows it: commands and answers end with zeros."""
        words = ["enable", "configure terminal", f"router bgp {ROUTER_AS}"]
        for node in self.world.nodes.values():
            words += self._neighbor(node.member)
        with socket.socket(socket.AF_UNIX) as terminal:
            terminal.connect(str(self.folder / "bgpd.vty"))
            for word in words:
                terminal.sendall(word.encode() + b"\0")
                answer = b""
                while b"\0\0\0" not in answer:
                    answer += terminal.recv(4096)

    def next_hops(self, prefix):
        found = json.loads(run("ip", "-4", "-n", self.namespace, "-j", "route", "show", prefix) or "[]")
        hops = [hop["gateway"] for route in found for hop in route.get("nexthops", []) if "gateway" in hop]
        return set(hops + [route["gateway"] for route in found if "gateway" in route])


def all_is_well(world, family=4, router=None):
    """Every node's own block and all others'; behind a router also what is outside, and the router knows the nodes."""
    if not world.blocks_are_known(family):
        return False
    if router is None:
        return True
    for node in world.nodes.values():
        if router.next_hops(node.blocks[family]) != {node.addresses[family]}:
            return False
        if OUTSIDE[family] not in node.birds[family].routes():
            return False
        if f"{OUTSIDE[family]} via" not in node.kernel(family) or "proto bird" not in node.kernel(family):
            return False
    return True
