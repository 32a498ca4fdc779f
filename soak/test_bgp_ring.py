"""Four nodes and their router for two minutes of changes, with a probe every 10 ms by UDP and by TCP to each node."""

import itertools
import json
import subprocess
import sys
import time

import pytest
from bgp_events import Events
from bgp_rig import World, run, until
from bgp_topologies import OUTSIDE, ROUTER_AS, BirdRouter, configuration, peer, top_of_rack
from test_bgp_faults import Passwords, with_password

from pycalico.api.v3.bgppeer import BGPPeer

DURATION_S = 120.0
#: TCP may have to send one segment again; a route that is gone for a moment costs more.
MOST_TCP_GAP_S = 0.25

#: Gives back what it gets. Argument: its address.
ECHO = """
import socket, sys, threading
def back(stream):
    while data := stream.recv(4096):
        stream.sendall(data)
def datagrams():
    while True:
        data, who = udp.recvfrom(100)
        udp.sendto(data, who)
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
udp.bind((sys.argv[1], 7))
threading.Thread(target=datagrams, daemon=True).start()
listener = socket.create_server((sys.argv[1], 7))
while True:
    threading.Thread(target=back, args=(listener.accept()[0],), daemon=True).start()
"""
#: Arguments: source, target. Until stdin ends; then tells what went and came back.
PROBE = """
import json, select, socket, sys, time
source, target = sys.argv[1:]
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
udp.bind((source, 0))
udp.connect((target, 7))
tcp = socket.create_connection((target, 7), timeout=10, source_address=(source, 0))
tcp.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
tcp.setblocking(False)
udp.setblocking(False)
sent, seen, came, gap = 0, set(), 0, 0.0
print("ready", flush=True)
due = last = time.monotonic()
ending = 0.0
while True:
    now = time.monotonic()
    if not ending and now >= due:
        udp.send(b"%d" % sent)
        tcp.send(b"x")
        sent += 1
        due += 0.01
    if ending and (now > ending or (len(seen) == sent and came == sent)):
        break
    for ready in select.select([udp, tcp, sys.stdin] if not ending else [udp, tcp], [], [], max(0, due - time.monotonic()) if not ending else 0.05)[0]:
        if ready is udp:
            seen.add(int(udp.recv(100)))
        elif ready is tcp:
            came += len(tcp.recv(4096))
            gap, last = max(gap, time.monotonic() - last), time.monotonic()
        else:
            ending = time.monotonic() + 2
print(json.dumps({"sent": sent, "udp": len(seen), "tcp": came, "gap_s": round(gap, 3)}))
"""


def probes(world, router):
    source = OUTSIDE[4].replace(".0/24", ".1")
    run("ip", "-n", router.namespace, "addr", "add", f"{source}/32", "dev", "lo")
    started = []
    for node in world.nodes.values():
        address = node.blocks[4].replace(".0/24", ".10")
        run("ip", "-n", node.namespace, "addr", "add", f"{address}/32", "dev", "lo")
        world.process(node.namespace, sys.executable, "-c", ECHO, address)
        words = ["ip", "netns", "exec", router.namespace, sys.executable, "-c", PROBE, source, address]
        until(lambda: reached(router, address))  # noqa: B023
        started.append(subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
    for process in started:
        assert process.stdout.readline() == "ready\n"
    return started


def reached(router, address):
    code = f"import socket; socket.create_connection(({address!r}, 7), timeout=1)"
    words = ["ip", "netns", "exec", router.namespace, sys.executable, "-c", code]
    return subprocess.run(words, capture_output=True, check=False).returncode == 0


@pytest.mark.timeout(240)
def test_no_change_costs_a_packet(tmp_path):
    plan = top_of_rack(4)
    # The nodes have each other, too: what they tell the router of each other is the longer way.
    plan.resources[0] = configuration(node_mesh_password=with_password("mesh"))
    secrets = Passwords(mesh="first")
    with World(plan, tmp_path, secrets) as world:
        router = BirdRouter(world)
        events = Events(world, {4: router})
        events.settled(60)
        until(events.everything_up, 60)
        streams = probes(world, router)
        began, counts, took_s = time.monotonic(), {}, {}
        nodes = itertools.cycle(world.nodes.values())
        while time.monotonic() - began < DURATION_S:
            for change in (
                peer_added_and_removed,
                twin_named,
                password_changed,
                half_written,
                confd_restarted,
                bird_killed,
            ):
                change(world, secrets, next(nodes))
                counts[change.__name__] = counts.get(change.__name__, 0) + 1
                took_s[change.__name__] = until(lambda: events.everything_up() and known(world, router), 60)[
                    1
                ]
        for process in streams:
            process.stdin.close()
        found = [json.loads(process.stdout.read()) for process in streams]
        for process in streams:
            process.wait(10)
    print(counts, took_s, found)
    assert all(row["udp"] == row["sent"] == row["tcp"] for row in found), found
    assert all(row["sent"] > 0.9 * DURATION_S * 100 for row in found), found
    assert all(row["gap_s"] < MOST_TCP_GAP_S for row in found), found


def known(world, router):
    """What the probes' packets need, here and there."""
    return all(
        router.next_hops(node.blocks[4]) == {node.addresses[4]} and f"{OUTSIDE[4]} via" in node.kernel()
        for node in world.nodes.values()
    )


def peer_added_and_removed(world, _, node):
    """To an address where nobody answers; BIRD runs it, so the reload is confirmed."""
    world.client.create(
        peer("more", node=node.name, peer_ip="10.80.1.77", as_number=ROUTER_AS, source_address="None")
    )
    until(lambda: "Node_10_80_1_77" in node.birds[4].peers())
    until(lambda: not node.loop.status.families[4].pending)
    world.client.delete(BGPPeer, "more")
    until(lambda: "Node_10_80_1_77" not in node.birds[4].peers())


def twin_named(world, _, node):
    """A second name for a session that there is already changes nothing."""
    before = node.birds[4].starts("Global_10_80_1_200")
    world.client.create(peer("twin", node=node.name, peer_ip="10.80.1.200", as_number=ROUTER_AS))
    time.sleep(0.5)
    world.client.delete(BGPPeer, "twin")
    time.sleep(0.5)
    assert node.birds[4].starts("Global_10_80_1_200") == before


def password_changed(world, secrets, _):
    """Of the mesh: nodes hear of it one after the other."""
    secrets.found = {"mesh": f"secret{time.monotonic()}"}
    for node in world.nodes.values():
        node.loop.wake.set()
    for node in world.nodes.values():
        until(lambda: secrets.found["mesh"] in (node.directory / "bird.cfg").read_text())  # noqa: B023


def half_written(_, __, node):
    node.stop_confd()
    whole = (node.directory / "bird.cfg").read_text()
    (node.directory / "bird.cfg").write_text(whole[: len(whole) * 2 // 3])
    node.birds[4].ask("configure")
    node.start_confd()
    until(lambda: (node.directory / "bird.cfg").read_text() == whole)


def confd_restarted(_, __, node):
    node.stop_confd()
    node.start_confd()
    until(lambda: node.loop.status.renders)


def bird_killed(_, __, node):
    node.birds[4].kill()
    time.sleep(1.0)
    node.birds[4].start()
