"""Real BIRDs on small topologies: expected routes on every node, and again after each thing that happens.

``python -m bench bgp`` tries all of them at full size and prints the times.
"""

import functools
import subprocess
from pathlib import Path

import pytest
from bgp_events import Events, Stream, disturbances
from bgp_rig import World, until
from bgp_topologies import (
    SERVICE,
    SERVICE_RANGE,
    BirdRouter,
    FrrRouter,
    all_is_well,
    mesh,
    racks,
    services,
    slice_on,
    top_of_rack,
)

from pycalico.api.v3.bgpconfiguration import BGPConfiguration

pytestmark = pytest.mark.netns
ROOT = Path(__file__).parents[2]


def test_a_dual_stack_mesh_grows_shrinks_and_recovers(tmp_path):
    with World(mesh(3, (4, 6)), tmp_path) as world:
        events = Events(world)
        events.settled()
        for what in (events.node_added, events.node_removed, events.link_flapped, events.bird_killed):
            assert what() < 5, what.__name__
        events.confd_restarted()


def test_racks_with_reflectors_open_each_session_once(tmp_path):
    with World(racks(), tmp_path) as world:
        events = Events(world)
        assert events.settled() < 8
        until(events.everything_up)
        assert events.node_added() < 5
        reflector = world.nodes["r2"].birds[4]
        name = f"Node_{events.added.addresses[4].replace('.', '_')}"
        assert reflector.starts(name) == 1, "the two sides did not cut each other's connection"


def test_a_stream_through_the_top_of_the_rack_loses_nothing(tmp_path):
    with World(top_of_rack(2), tmp_path) as world:
        router = BirdRouter(world)
        until(lambda: all_is_well(world, 4, router))
        node = world.nodes["n1"]
        stream = Stream(world, router, node)
        for _, disturb in disturbances(world, node):
            disturb()
        sent, lost = stream.end()
        assert sent > 200
        assert lost == 0


def test_a_local_service_is_spread_over_the_nodes_that_have_it(tmp_path):
    with World(services(), tmp_path) as world:
        router = BirdRouter(world)
        n1, n2, n3 = (world.nodes[f"n{n}"].addresses[4] for n in (1, 2, 3))
        until(lambda: router.next_hops(SERVICE) == {n1, n2})
        # The range itself is announced by all three, so that nothing of it is lost.
        until(lambda: router.next_hops(SERVICE_RANGE) == {n1, n2, n3})
        assert SERVICE_RANGE not in world.nodes["n1"].kernel(), "kube-proxy's business on the nodes"
        world.client.delete(type(slice_on()), "web-1", namespace="default")
        world.client.create(slice_on("n3"))
        until(lambda: router.next_hops(SERVICE) == {n3})
        stored = world.client.get(BGPConfiguration, "default")
        stored.spec.service_cluster_ips = []
        world.client.update(stored)
        until(lambda: not router.next_hops(SERVICE) and not router.next_hops(SERVICE_RANGE))


@pytest.fixture
def neighbours():
    """BIRD 2 and FRR: fetched once for this checkout."""
    done = subprocess.run([ROOT / "tools/neighbours.sh"], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("make", [functools.partial(BirdRouter, version=2), FrrRouter], ids=["BIRD 2", "FRR"])
def test_routers_of_other_make_know_the_nodes_that_come_and_go(tmp_path, neighbours, make):
    with World(top_of_rack(2), tmp_path, router=make) as world:
        events = Events(world, {4: world.first})
        world.first.reload()
        events.settled()
        assert events.node_added() < 3
        assert events.node_removed() < 3
        # With graceful restart the router forgets nothing of a node whose BIRD is away for a moment.
        assert events.bird_killed() < 4
