"""A neighbour that is gone without a word is noticed when the hold time is over, not later, and is back at once."""

import time

import pytest
from bgp_events import Events
from bgp_rig import World, until
from bgp_topologies import mesh

HOLD_S = 240


@pytest.mark.timeout(400)
def test_a_silent_nodes_routes_go_with_the_hold_time(tmp_path):
    with World(mesh(3), tmp_path) as world:
        events = Events(world)
        events.settled()
        until(events.everything_up)
        gone = world.nodes["n3"].blocks[4]
        world.cable("n3", "down")
        began = time.monotonic()
        for name in ("n1", "n2"):
            until(lambda: gone not in world.nodes[name].birds[4].routes(), HOLD_S + 20, 0.5)  # noqa: B023
        took_s = time.monotonic() - began
        print(f"its routes are gone after {took_s:.0f} s")
        # The last keepalive may be a third of the hold time old.
        assert HOLD_S * 2 / 3 - 5 < took_s < HOLD_S + 5
        assert world.nodes["n2"].blocks[4] in world.nodes["n1"].birds[4].routes()
        world.cable("n3", "up")
        assert events.settled(60) < 30
