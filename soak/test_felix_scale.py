"""One node at the size that the promises name: restarts, locks that nobody gives back, flapping, foreign routes."""

import fcntl
import os
import random
import socket
import subprocess
import threading
import time
from pathlib import Path

import dataplane_rig as rig
import pytest
from bench import felix as scale
from felix_world import FelixWorld, shell
from test_felix_faults import _shim, cluster, until

from pycalico.calc.messages import (
    IPSetDelta,
    IPSetType,
    IPSetUpdate,
    PolicyID,
    PolicyLists,
    PolicyUpdate,
    Rule,
)
from pycalico.kernel import netns

pytestmark = pytest.mark.timeout(900)

_LEGACY = {"FELIX_IPTABLESBACKEND": "legacy"}
_PODS = (0, 50)  # of one namespace, with different applications


@pytest.fixture
def node(tmp_path):
    """Felix's world with 200 local pods, 5,000 remote ones and 500 policies; two of the pods are real."""
    written = tmp_path / "written"
    path = _shim(tmp_path, "iptables-legacy-restore", f'tee -a {written} | REAL "$@"\n')
    with netns.private():
        world = FelixWorld(tmp_path, {**_LEGACY, "FELIX_FELIXHOSTNAME": scale.NODE, "PATH": path})
        world.written = written
        try:
            world.start_etcd()
            scale._fill()
            any_udp = [{"action": "Allow", "protocol": "UDP", "destination": {"ports": [7777]}}]
            spec = {"order": 1, "types": ["Ingress", "Egress"], "ingress": any_udp, "egress": any_udp}
            meta = {"name": "stream"}
            world.apply(
                {
                    "apiVersion": "v3",
                    "kind": "GlobalNetworkPolicy",
                    "metadata": meta,
                    "spec": {**spec, "selector": "all()"},
                }
            )
            links = [
                line
                for n in range(scale.LOCAL)
                for line in (
                    f"link add cali{n:08x} type veth peer name p{n}",
                    f"link set cali{n:08x} up",
                    f"link set p{n} up",
                )
            ]
            subprocess.run(["ip", "-batch", "-"], input="\n".join(links), text=True, check=True)
            world.spaces = [_pod(number) for number in _PODS]
            yield world
        finally:
            world.close()


def _pod(number):
    with netns.private():
        space = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    shell(f"ip link set p{number} netns /proc/{os.getpid()}/fd/{space} name eth0", pass_fds=(space,))
    shell(f"ip link set cali{number:08x} address ee:ee:ee:ee:ee:ee")
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    netns.enter(f"/proc/self/fd/{space}")
    try:
        shell(
            f"ip link set lo up; ip link set eth0 address ee:ee:ee:ee:ee:ee; ip link set eth0 up; "
            f"ip addr add 10.64.0.{number + 1}/32 dev eth0; ip route add 169.254.1.1 dev eth0; "
            "ip neigh add 169.254.1.1 lladdr ee:ee:ee:ee:ee:ee dev eth0 nud permanent; "
            "ip route add default via 169.254.1.1"
        )
        sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    finally:
        netns.enter(f"/proc/self/fd/{home}")
    return sender


class Stream(threading.Thread):
    """A packet each 10 ms of one flow; ``missing`` afterwards tells the numbers that did not arrive."""

    def __init__(self, sender, receiver, port):
        super().__init__()
        self.over = threading.Event()
        self.sent, self.seen = 0, set()
        self.sender, self.receiver, self.port = sender, receiver, port

    def run(self):
        address = f"10.64.0.{_PODS[0] + 1}"
        self.receiver.setblocking(False)
        while not self.over.is_set():
            self.sender.sendto(self.sent.to_bytes(4, "big"), (address, self.port))
            self.sent += 1
            time.sleep(0.01)
            try:
                while True:
                    self.seen.add(int.from_bytes(self.receiver.recv(100), "big"))
            except BlockingIOError:
                pass

    def stop(self):
        self.over.set()
        self.join(5)
        return set(range(self.sent - 3)) - self.seen


def test_twenty_restarts_rewrite_nothing_and_lose_no_packet(node):
    node.supervise()
    until(node.ready, 30, "readiness")
    time.sleep(2)
    receiver, sender = node.spaces
    receiver.bind(("", 7777))
    until(lambda: _arrives(sender, receiver), 5, "the stream")
    before = sorted(_rules())
    stream = Stream(sender, receiver, 7777)
    stream.start()
    took = []
    try:
        for number in range(20):
            node.written.write_text("")
            node.signal(9 if number % 2 else 15)
            node.exit_code(20)
            node.supervise()
            took.append(until(node.ready, 20, "readiness"))
            assert node.written.read_text() == ""
    finally:
        missing = stream.stop()
    print(f"20 restarts: {stream.sent} packets, {len(missing)} lost, ready after {max(took):.2f} s at most")
    assert not missing
    assert max(took) < 5
    assert sorted(_rules()) == before


def _arrives(sender, receiver):
    sender.sendto(b"\0\0\0\0", (f"10.64.0.{_PODS[0] + 1}", 7777))
    receiver.settimeout(0.2)
    try:
        return bool(receiver.recv(10))
    except OSError:
        return False


def _rules():
    return [line.split(" [")[0] for line in shell("iptables-legacy-save").splitlines() if line[:1] in ":-"]


def test_a_lock_that_nobody_gives_back(tmp_path):
    with netns.private():
        world = FelixWorld(tmp_path, {**_LEGACY, "FELIX_DATAPLANEWATCHDOGTIMEOUT": "20"})
        holder = None
        try:
            world.start_etcd()
            for each in cluster():
                world.apply(each)
            world.supervise()
            until(world.ready, 20, "readiness")
            holder = open(world.environ["XTABLES_LOCKFILE"], "a")
            fcntl.flock(holder, fcntl.LOCK_EX)
            world.delete({"kind": "NetworkPolicy", "metadata": {"name": "only-b", "namespace": "default"}})
            took_s = until(lambda: not world.ready(), 40, "not ready")
            print(f"not ready after {took_s:.0f} s")
            began = time.monotonic()
            code = world.exit_code(200)
            print(f"ended with {code} after {time.monotonic() - began:.0f} s more")
            assert code != 0
            assert "Traceback" not in world.log()
            holder.close()
            world.supervise()
            until(world.ready, 20, "readiness again")
            assert "only-b" not in shell("iptables-legacy-save")
        finally:
            if holder:
                holder.close()
            world.close()


def test_two_thousand_sets_flapping():
    seconds = 60.0
    dice = random.Random(41)
    with rig.namespace():
        rig.host()
        rig.veth("cali1", "p1")
        names = [f"s:flap{number}" for number in range(2000)]
        wanted = {name: set() for name in names}
        policies = [
            PolicyUpdate(PolicyID("default", f"default.p{n}"), tuple(Rule("allow", src_ip_set_ids=(s,)) for s in names[n * 100 : n * 100 + 100]), (), "all()")
            for n in range(20)
        ]  # fmt: skip
        tiers = (PolicyLists("default", ingress=tuple(policy.id.name for policy in policies)),)
        pod = rig.workload("a", "cali1", "172.16.0.10/32", tiers=tiers)
        sets = [IPSetUpdate(name, IPSetType.NET, frozenset()) for name in names]
        with rig.Rig().start(*rig.PROFILES, *sets, *policies, pod) as felix:
            felix.settle()
            warm = 0
            end = time.monotonic() + seconds
            changes = 0
            while time.monotonic() < end:
                messages = []
                for name in dice.sample(names, 200):
                    member = f"10.0.0.{dice.randrange(20)}"
                    if member in wanted[name]:
                        wanted[name].discard(member)
                        messages.append(IPSetDelta(name, frozenset(), frozenset((member,))))
                    else:
                        wanted[name].add(member)
                        messages.append(IPSetDelta(name, frozenset((member,)), frozenset()))
                felix.put(*messages)
                changes += len(messages)
                time.sleep(0.05)
                if not warm and time.monotonic() > end - seconds / 2:
                    warm = _rss_kib()
            felix.settle()
            assert not felix.dataplane.status().failures
            seen = {name: set() for name in names}
            for line in rig.sh("ipset save").splitlines():
                words = line.split()
                if words[0] == "add" and words[1].startswith("cali40s:flap"):
                    seen[words[1].removeprefix("cali40")].add(words[2])
            grown = _rss_kib() - warm
            print(f"{changes} changes, memory grew by {grown} KiB in the second half")
            assert seen == wanted
            assert grown < 10_000


def _rss_kib():
    return int(Path("/proc/self/status").read_text().split("VmRSS:")[1].split()[0])


def test_links_flapping_a_hundred_times_a_second():
    with rig.namespace():
        rig.host()
        pod = rig.workload("a", "cali1", "172.16.0.10/32")
        with rig.Rig().start(*rig.PROFILES, pod) as felix:
            for number in range(300):
                rig.sh("ip link add cali1 type veth peer name p1; ip link set p1 up; ip link set cali1 up")
                if number % 3:
                    rig.sh("ip link set cali1 name caliother; ip link set caliother name cali1", check=False)
                if number < 299:
                    rig.sh("ip link del cali1")
                time.sleep(0.005)
            rig.until(lambda: "cali1" in rig.sh("ip route show 172.16.0.10"), what="the route")
            felix.settle()
            assert not felix.dataplane.status().failures


def test_thirty_thousand_foreign_routes_and_a_thousand_links(tmp_path):
    with netns.private():
        world = FelixWorld(tmp_path, _LEGACY)
        try:
            world.start_etcd()
            for each in cluster():
                world.apply(each)
            links = [f"link add f{n} type veth peer name g{n}" for n in range(500)]
            routes = [
                f"route add 11.{n >> 16}.{n >> 8 & 255}.{n & 255}/32 via 10.0.0.254 proto static"
                for n in range(30_000)
            ]
            subprocess.run(["ip", "-batch", "-"], input="\n".join(links + routes), text=True, check=True)
            world.supervise()
            until(world.ready, 30, "readiness")
            time.sleep(45)
            before = scale._cpu_s(world.pid)
            time.sleep(30)
            share = (scale._cpu_s(world.pid) - before) / 30
            print(f"idle {share * 100:.2f} % of a core")
            assert share < 0.01
            assert shell("ip route show proto static | wc -l").strip() == "30000"
        finally:
            world.close()


def test_nothing_grows_with_twenty_thousand_changes(tmp_path):
    """Endpoints and policies come and go; neither memory nor what the kernel holds stays behind."""
    with netns.private():
        world = FelixWorld(tmp_path, _LEGACY)
        try:
            world.start_etcd()
            first = list(cluster())
            for each in first:
                world.apply(each)
            world.supervise()
            until(world.ready, 20, "readiness")
            time.sleep(2)
            kernel = sorted(_rules()), shell("ipset save | sort"), shell("ip route | sort")
            pods = [each for each in first if each["kind"] == "WorkloadEndpoint"]
            sizes = []
            for number in range(10_000):
                pod = pods[number % 9]
                label = {"n": str(number)}
                other = {
                    **pod,
                    "metadata": {**pod["metadata"], "labels": {**pod["metadata"]["labels"], **label}},
                }
                world.apply(other)
                if number % 1000 == 999:
                    sizes.append(
                        int(Path(f"/proc/{world.pid}/status").read_text().split("VmRSS:")[1].split()[0])
                    )
                if number % 10 == 0:
                    spec = {
                        "selector": f"n == '{number}'",
                        "ingress": [{"action": "Allow", "source": {"selector": f"n == '{number}'"}}],
                    }
                    policy = {
                        "kind": "NetworkPolicy",
                        "metadata": {"name": f"p{number}", "namespace": "default"},
                        "spec": spec,
                    }
                    world.apply(policy)
                    world.delete(policy)
            for pod in pods:
                world.apply(pod)
            time.sleep(3)
            print(f"resident KiB after each thousand: {sizes}")
            assert sizes[-1] - sizes[2] < 7 * 1024
            assert (sorted(_rules()), shell("ipset save | sort"), shell("ip route | sort")) == kernel
        finally:
            world.close()
