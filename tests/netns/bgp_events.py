"""What happens to a network of BIRDs, and how long until every node has every route again. Rows for a table."""

import re
import subprocess
import time

from bgp_rig import Member, until
from bgp_topologies import OUTSIDE, ROUTER_AS, all_is_well, peer

from pycalico.api.v3.bgpconfiguration import BGPConfiguration

LIMIT_S = 20.0


class Events:
    """``routers``: by family, the neighbour that is no node, where there is one."""

    def __init__(self, world, routers=None):
        self.world, self.routers = world, routers or {}
        self.families = world.plan.families
        self._next = 40

    def well(self):
        return all(all_is_well(self.world, family, self.routers.get(family)) for family in self.families)

    def settled(self, limit_s=LIMIT_S):
        """Seconds until all is well."""
        try:
            return until(self.well, limit_s)[1]
        except AssertionError as error:
            raise AssertionError("\n".join([str(error), *self.faults()])) from None

    def faults(self):
        """What is missing, and the sessions of those who miss it."""
        for node in self.world.nodes.values():
            for family, bird in node.birds.items():
                unknown = self.world.unknown(node, family)
                sessions = [
                    f"{name}: {peer.info}" for name, peer in bird.peers().items() if not peer.established
                ]
                if unknown or sessions:
                    yield f"{node.name}: lacks {sorted(unknown)}; {sessions}; {node.loop.status.problems}"

    def everything_up(self):
        return all(
            len(bird.established()) == len(bird.peers())
            for node in self.world.nodes.values()
            for bird in node.birds.values()
        )

    def _any(self):
        return list(self.world.nodes.values())[-1]

    def node_added(self):
        last = self._any().member
        self._next += 1
        spec = dict(last.spec)
        if "as_number" in spec:
            spec["as_number"] = 64600 + self._next
        began = time.monotonic()
        self.added = self.world.add(
            Member(f"x{self._next}", last.segment, self._next, last.labels, spec, number=self._next)
        )
        for router in self.routers.values():
            router.reload()
        self.settled()
        return time.monotonic() - began

    def node_removed(self):
        began = time.monotonic()
        self.world.remove(self.added.name)
        for router in self.routers.values():
            router.reload()
        self.settled()
        return time.monotonic() - began

    def bird_killed(self):
        """SIGKILL and back, as under its supervisor: others keep the routes all the time."""
        node = self._any()
        for family, bird in node.birds.items():
            bird.kill()
            others = [other for other in self.world.nodes.values() if other is not node]
            time.sleep(0.2)
            lost = [other.name for other in others if self.world.unknown(other, family)]
            assert not lost, f"without {node.name}'s BIRD {lost} lack routes"
            bird.start()
        began = time.monotonic()
        until(lambda: self.well() and self.everything_up(), 60)
        return time.monotonic() - began

    def link_flapped(self, down_s=0.5):
        node = self._any()
        node.link("down")
        time.sleep(down_s)
        node.link("up")
        return self.settled()

    def partitioned(self, away_s=1.5):
        """A silent cut, shorter than the hold time; a change made meanwhile arrives afterwards."""
        node = self._any()
        self.world.cable(node.name, "down")
        time.sleep(away_s)
        self.world.cable(node.name, "up")
        return self.settled()

    def confd_restarted(self):
        node = self._any()
        starts = {name: bird.starts(name) for bird in node.birds.values() for name in bird.peers()}
        node.stop_confd()
        node.start_confd()
        until(lambda: node.loop.status.renders)
        time.sleep(0.5)
        now = {name: bird.starts(name) for bird in node.birds.values() for name in bird.peers()}
        assert now == starts, "a session was lost"
        return self.settled()


class Stream:
    """100 packets a second from the router's outside address to an address in a node's block, and their answers."""

    def __init__(self, world, router, node):
        self.node, self.address = node, node.blocks[4].replace(".0/24", ".10")
        source = OUTSIDE[4].replace(".0/24", ".1")
        for namespace, address in ((node.namespace, self.address), (router.namespace, source)):
            subprocess.run(
                ["ip", "-n", namespace, "addr", "replace", f"{address}/32", "dev", "lo"], check=True
            )
        command = ["ping", "-n", "-i", "0.01", "-W", "1", "-I", source, self.address]
        self.process = subprocess.Popen(
            ["ip", "netns", "exec", router.namespace, *command], stdout=subprocess.PIPE, text=True
        )

    def end(self):
        """(sent, lost)."""
        self.process.send_signal(2)
        said = self.process.communicate(timeout=10)[0]
        sent, received = map(int, re.search(r"(\d+) packets transmitted, (\d+) received", said).groups())
        return sent, sent - received


def disturbances(world, node):
    """What a stream must survive: (name, action)."""

    def confd():
        node.stop_confd()
        node.start_confd()
        until(lambda: node.loop.status.renders)
        time.sleep(0.5)

    def configuration():
        stored = world.client.get(BGPConfiguration, "default")
        stored.spec.log_severity_screen = "Debug"
        world.client.update(stored)
        world.client.create(peer("another", node=node.name, peer_ip="10.80.1.77", as_number=ROUTER_AS))
        until(lambda: "Node_10_80_1_77" in node.birds[4].peers())
        time.sleep(0.5)

    def bird():
        node.birds[4].kill()
        time.sleep(1.0)
        node.birds[4].start()
        until(lambda: node.birds[4].peers()["Global_10_80_1_200"].info.startswith("Established"), 60)
        time.sleep(1.0)

    return [("confd restarted", confd), ("configuration changed", configuration), ("BIRD killed", bird)]
