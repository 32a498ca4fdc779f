"""Nodes without their API server, their name or their agent, and many calls at once."""

import os
import signal
import sys
import threading
import time

import pytest
from node_world import NODE, SOCKET, World, held, nothing_is_left

from pycalico.datastore.kubernetes.rest import path_of

pytestmark = pytest.mark.netns


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """A node without an agent."""
    there = World(tmp_path_factory.mktemp("alone"))
    yield there
    there.close()


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    there = World(tmp_path_factory.mktemp("agent"))
    there.start_agent()
    yield there
    there.close()


def test_21_a_nodename_that_never_comes_is_code_11_after_15_s(alone):
    refused = alone.call("ADD", "nobody", config={"nodename_file": "/var/lib/calico/never"})
    assert (refused.code, refused.object["code"]) == (1, 11)
    assert refused.object["msg"].startswith(
        "stat /var/lib/calico/never: no such file or directory: check that"
    )
    assert 14 < refused.seconds < 18


@pytest.mark.parametrize(("which", "how"), [("world", "stopped"), ("world", "silent"), ("alone", "stopped")])
def test_23_del_without_the_api_ends_soon_and_is_finished_once_it_is_back(request, which, how):
    world = request.getfixturevalue(which)
    pod = world.pod(f"gone-{how}")
    assert world.call("ADD", pod).code == 0
    other = world.pod(f"stays-{how}")
    (kept,) = world.call("ADD", other).addresses
    (world.stop_server if how == "stopped" else world.pause_server)()
    try:
        deleted = world.call("DEL", pod)
        assert deleted.code == 0, deleted.text
        assert deleted.seconds < 10
        assert "eth0" not in world.links(pod)
        assert len(world.sh("ls /var/lib/calico/cni-deletions").split()) == 1
        assert world.sh("stat -c %a /var/lib/calico/cni-deletions/*") == "600"
    finally:
        (world.start_server if how == "stopped" else world.resume_server)()
    alone = world.agent is None
    if alone:
        world.start_agent()
    world.until(lambda: not world.sh("ls /var/lib/calico/cni-deletions"), 30)
    if alone:
        world.stop_agent()
    nothing_is_left(world, pod)
    assert held(world)[f"net.c-{other}"] == [kept]
    assert world.call("DEL", other).code == 0


def test_add_without_the_api_asks_to_try_again_and_leaves_nothing(world):
    pod = world.pod("early")
    world.stop_server()
    try:
        refused = world.call("ADD", pod)
    finally:
        world.start_server()
    assert (refused.code, refused.object["code"]) == (1, 11)
    assert "6443" in refused.object["msg"]
    assert refused.seconds < 25
    nothing_is_left(world, pod)
    assert world.call("ADD", pod).code == 0
    assert world.call("DEL", pod).code == 0


def test_add_waits_for_an_api_server_that_starts(world):
    pod = world.pod("restart")
    world.stop_server()
    threading.Timer(2.0, world.start_server).start()
    added = world.call("ADD", pod)
    assert added.code == 0, added.text
    assert world.call("DEL", pod).code == 0


def test_29_a_lock_whose_holder_is_killed_is_free(alone):
    holder = (
        alone.start(["flock", "/run/calico/ipam.lock", "sleep", "infinity"]) if alone.agent is None else None
    )
    if holder is None:
        pytest.skip("the agent needs no lock")
    pod = alone.pod("locked")
    time.sleep(0.3)
    threading.Timer(1.0, lambda: [os.kill(int(pid), signal.SIGKILL) for pid in family(holder.pid)]).start()
    added = alone.call("ADD", pod)
    assert added.code == 0
    assert 0.5 < added.seconds < 5
    holder.wait(5)
    assert alone.call("DEL", pod).code == 0


def family(pid):
    children = open(f"/proc/{pid}/task/{pid}/children").read().split()
    return [*(one for child in children for one in family(child)), str(pid)]


def test_28_a_hundred_at_once(world):
    pods = [world.pod(f"many-{number}") for number in range(100)]
    answers = {}

    def run(verb, pod):
        answers[pod] = world.call(verb, pod)

    for verb in ("ADD", "DEL"):
        threads = [threading.Thread(target=run, args=(verb, pod)) for pod in pods]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert {answer.code for answer in answers.values()} == {0}, {
            answer.text for answer in answers.values()
        }
        slowest = max(answer.seconds for answer in answers.values())
        assert slowest < 20
        if verb == "ADD":
            assert len({address for answer in answers.values() for address in answer.addresses}) == len(pods)
    assert not [handle for handle in held(world) if handle.startswith("net.c-many")]


#: An agent that does its work and dies before it can say so.
DIES_BEFORE_ITS_ANSWER = """
import os, socket
from pycalico.cni import entry, ipam_plugin, plugin
from pycalico.cni.agent import protocol
from pycalico.cni.invocation import OneCall
listening = socket.socket(socket.AF_UNIX)
listening.bind(protocol.SOCKET + ".new")
listening.listen()
os.rename(protocol.SOCKET + ".new", protocol.SOCKET)
connection, _ = listening.accept()
call = protocol.receive(connection, 5)
found = {one.name: one for one in (plugin.PLUGIN, ipam_plugin.PLUGIN)}[call.plugin]
done = entry.answered(found, call.environ, call.given, OneCall(), netns=f"/proc/self/fd/{call.netns}")
os.unlink(protocol.SOCKET)
os._exit(done.code)
"""


@pytest.mark.parametrize("program", ["calico", "calico-ipam"])
def test_an_agent_lost_after_its_work_leaves_one_address(alone, program):
    pod = alone.pod(f"lost-{program}")
    agent = alone.start([sys.executable, "-c", DIES_BEFORE_ITS_ANSWER])
    alone.until(lambda: alone.sh(f"test -S {SOCKET} && echo there"))
    added = alone.call("ADD", pod, plugin=program)
    assert agent.wait(10) == 0
    assert added.code == 0
    assert held(alone)[f"net.c-{pod}"] == added.addresses
    assert alone.call("DEL", pod, plugin=program).code == 0
    nothing_is_left(alone, pod)


def test_an_agent_killed_within_its_calls_leaves_what_the_next_del_takes(world):
    pods = [world.pod(f"kill-{number}") for number in range(8)]
    answers = {}
    threads = [
        threading.Thread(target=lambda pod=pod: answers.update({pod: world.call("ADD", pod)})) for pod in pods
    ]
    for thread in threads:
        thread.start()
    time.sleep(0.1)
    world.agent.kill()
    world.agent.wait()
    for thread in threads:
        thread.join()
    # Each plugin did it itself when its agent was gone.
    assert {answer.code for answer in answers.values()} == {0}, {answer.text for answer in answers.values()}
    world.start_agent()
    taken = held(world)
    current = {pod: answers[pod].addresses[0] for pod in pods}
    assert len(set(current.values())) == len(pods)
    assert {pod: taken[f"net.c-{pod}"] for pod in pods} == {
        pod: [address] for pod, address in current.items()
    }
    for pod in pods:
        assert world.call("DEL", pod).code == 0
        nothing_is_left(world, pod)
    world.api(lambda client: client.rest.get(path_of("v1", "nodes", "", NODE), dict))
