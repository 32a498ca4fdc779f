"""Topologies of real BIRDs at full size: seconds until all routes are there, and again after each thing that happens;
packets lost of a stream of 100 a second; and what confd takes in a cluster of 200 nodes.

BIRD 2 and FRR as the router of a rack are tried where ``tools/neighbours.sh`` has fetched them.
"""

import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "netns"))

import bgp_topologies as topologies
from bgp_events import Events, Stream, disturbances
from bgp_rig import World, until

from pycalico.api.meta import ObjectMeta
from pycalico.api.v3.ipam import BlockAffinity, BlockAffinitySpec
from pycalico.api.v3.ippool import IPPool, IPPoolSpec
from pycalico.api.v3.node import Node, NodeBGPSpec, NodeSpec
from pycalico.bgp.inputs import Settings
from pycalico.bgp.render import render
from pycalico.bgp.routing import routing
from pycalico.confd.collector import Collector
from pycalico.confd.files import ConfigDirectory
from pycalico.confd.loop import Loop
from pycalico.confd.reload import Reloader
from pycalico.datastore.memory import MemoryClient

EVENTS = ("node_added", "node_removed", "bird_killed", "link_flapped", "partitioned", "confd_restarted")


def main() -> None:
    simulated()
    print(f"\n{'topology':34}{'up':>7}" + "".join(f"{name.replace('_', ' '):>16}" for name in EVENTS))
    row("full mesh of 8", topologies.mesh(8))
    row("two racks, route reflectors", topologies.racks())
    row("dual stack mesh of 4", topologies.mesh(4, (4, 6)))
    row("eBGP to a BIRD 1.6", topologies.top_of_rack(), lambda w: {4: topologies.BirdRouter(w)})
    row(
        "eBGP to a BIRD 1.6, dual stack",
        topologies.top_of_rack(families=(4, 6)),
        lambda w: {family: topologies.BirdRouter(w, family) for family in (4, 6)},
    )
    if topologies.NEIGHBOURS.is_dir():
        row("eBGP to a BIRD 2", topologies.top_of_rack(), lambda w: {4: topologies.BirdRouter(w, 4, 2)})
        row("eBGP to FRR", topologies.top_of_rack(), lambda w: {4: w.first}, topologies.FrrRouter)
    else:
        print("BIRD 2 and FRR: not here; tools/neighbours.sh fetches them")
    services()
    streams()
    if os.environ.get("BENCH_HOLD"):
        silence()


def row(name, plan, routers=lambda _: {}, first=None):
    with (
        tempfile.TemporaryDirectory(prefix="pycalico-bench-") as folder,
        World(plan, folder, router=first) as world,
    ):
        began = time.monotonic()
        events = Events(world, routers(world))
        events.settled(60)
        cells = [f"{time.monotonic() - began:7.2f}"]
        until(events.everything_up, 60)
        for event in EVENTS:
            cells.append(f"{getattr(events, event)():16.2f}")
            until(events.everything_up, 60)
    print(f"{name:34}{''.join(cells)}", flush=True)


def services():
    with (
        tempfile.TemporaryDirectory(prefix="pycalico-bench-") as folder,
        World(topologies.services(), folder) as world,
    ):
        router = topologies.BirdRouter(world)
        both = {world.nodes[name].addresses[4] for name in ("n1", "n2")}
        until(lambda: router.next_hops(topologies.SERVICE) == both)
        began = time.monotonic()
        world.client.delete(type(topologies.slice_on()), "web-1", namespace="default")
        world.client.create(topologies.slice_on("n3"))
        until(lambda: router.next_hops(topologies.SERVICE) == {world.nodes["n3"].addresses[4]})
        print(
            f"service: two next hops at the router; moved to another node in {time.monotonic() - began:.2f} s"
        )


def streams():
    with (
        tempfile.TemporaryDirectory(prefix="pycalico-bench-") as folder,
        World(topologies.top_of_rack(), folder) as world,
    ):
        router = topologies.BirdRouter(world)
        until(lambda: topologies.all_is_well(world, 4, router))
        node = world.nodes["n1"]
        for name, disturb in disturbances(world, node):
            stream = Stream(world, router, node)
            time.sleep(0.5)
            disturb()
            sent, lost = stream.end()
            print(f"stream of 100/s, {name}: {lost} of {sent} packets lost")


def silence():
    """A neighbour that is gone without a word: noticed when the hold time of 240 s is over. Only with BENCH_HOLD=1."""
    with (
        tempfile.TemporaryDirectory(prefix="pycalico-bench-") as folder,
        World(topologies.mesh(3), folder) as world,
    ):
        events = Events(world)
        events.settled()
        until(events.everything_up)
        world.cable("n3", "down")
        began = time.monotonic()
        gone = world.nodes["n3"].blocks[4]
        until(lambda: gone not in world.nodes["n1"].birds[4].routes(), 300, 0.5)
        print(f"silent peer: its routes are gone after {time.monotonic() - began:.0f} s", flush=True)
        world.cable("n3", "up")
        until(events.well, 60)
        print(f"back again: all routes after {time.monotonic() - began:.0f} s")


def simulated(nodes: int = 200) -> None:
    """confd alone, in a process of its own, so that its memory is its own."""
    subprocess.run([sys.executable, "-m", "bench.bgp", str(nodes)], check=True)


def cluster(nodes: int) -> None:
    client = MemoryClient()
    for number in range(nodes):
        name = f"node{number:03}"
        bgp = NodeBGPSpec(
            ipv4_address=f"10.0.{number // 200}.{number % 200 + 1}/16",
            ipv6_address=f"fd00::{number + 1:x}/64",
        )
        client.create(Node(metadata=ObjectMeta(name=name), spec=NodeSpec(bgp=bgp)))
        spec = BlockAffinitySpec(state="confirmed", node=name, cidr=f"172.16.{number}.0/24")
        client.create(BlockAffinity(metadata=ObjectMeta(name=name), spec=spec))
    client.create(IPPool(metadata=ObjectMeta(name="pool"), spec=IPPoolSpec(cidr="172.16.0.0/16")))
    with tempfile.TemporaryDirectory(prefix="pycalico-bench-") as folder:
        reloader = Reloader({4: f"{folder}/none", 6: f"{folder}/none"})
        settings = Settings(node="node007", felix_routes=True)
        loop = Loop(client, settings, ConfigDirectory(Path(folder, "config")), reloader)
        began = time.perf_counter()
        loop.run_once()
        first_ms = (time.perf_counter() - began) * 1000
        changes = []
        for number in range(30):
            stored = client.get(Node, "node100")
            stored.spec.bgp.ipv4_address = f"10.0.9.{number + 1}/16"
            client.update(stored)
            collector: Collector = loop._collector
            collector.inputs.nodes["node100"] = stored
            began = time.perf_counter()
            loop.render()
            changes.append((time.perf_counter() - began) * 1000)
        pure = []
        for _ in range(30):
            began = time.perf_counter()
            render(routing(collector.inputs, settings), collector.inputs, settings)
            pure.append((time.perf_counter() - began) * 1000)
        asked = []
        reloader.ask = asked.append
        loop.render()
        assert not asked, "nothing has changed, and yet there is a reload"
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"confd, {nodes} nodes: first pass with list, bird -p and writing {first_ms:.0f} ms; one node's change"
        f" {statistics.median(changes):.1f} ms (rendering alone {statistics.median(pure):.1f} ms); peak {peak:.0f} MiB;"
        " nothing changed: no reload"
    )


if __name__ == "__main__":
    cluster(int(sys.argv[1]))
