"""What others do to the node, and what must survive it: scenarios 33 to 55 that one node shows in seconds."""

import os
import signal
import struct
import subprocess
import threading
import time
from functools import partial

import datastore_away
import pytest
from felix_world import shell, state
from packet_lab import PacketLab
from random_policies import PODS, World
from reference import Packet
from test_felix import differences
from underlay import HOST

from pycalico.kernel import netns

#: `make soak` has the scenario's ten minutes.
AWAY_S = float(os.environ.get("DATASTORE_AWAY_S", "15"))
pytestmark = [pytest.mark.netns, pytest.mark.timeout(120 + AWAY_S)]

A, B, C = (place.name for place in PODS[:3])
_ADDRESS = {place.name: place.ipv4[0] for place in PODS}
_INTERFACE = {place.name: place.interface for place in PODS}
_HOST = "10.0.0.1"


def _resource(kind, name, spec, namespace=None):
    meta = {"name": name, **({"namespace": namespace} if namespace else {})}
    return {"apiVersion": "projectcalico.org/v3", "kind": kind, "metadata": meta, "spec": spec}


def cluster():
    """Pod a takes TCP 80 from pod b alone."""
    world = World(3)
    for resource in (*world.standing(), *world.profiles(), *world.workloads()):
        if resource["kind"] == "Profile" and resource["metadata"]["name"].startswith("kns."):
            resource["spec"].update(ingress=[{"action": "Allow"}], egress=[{"action": "Allow"}])
        if resource["kind"] == "WorkloadEndpoint":
            resource["spec"]["profiles"] = resource["spec"]["profiles"][-2:]
        yield resource
    allow = {
        "action": "Allow",
        "protocol": "TCP",
        "source": {"selector": "pod == 'b'"},
        "destination": {"ports": [80]},
    }
    spec = {"selector": "pod == 'a'", "types": ["Ingress"], "ingress": [allow]}
    yield _resource("NetworkPolicy", "only-b", spec, "default")


def tcp(source, target, port=80, sport=[20000]):  # noqa: B006 - counts up over all calls
    sport[0] = sport[0] + 1 if sport[0] < 60000 else 20000
    src = _ADDRESS.get(source, _HOST)
    return source, target, Packet(src, _ADDRESS.get(target, _HOST), "tcp", sport[0], port)


def until(condition, seconds=10.0, what="it"):
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < seconds, f"not within {seconds} s: {what}"
        time.sleep(0.02)
    return time.monotonic() - began


class Node:
    """A lab with that cluster on it, ready."""

    def __init__(self, folder, environ):
        self.lab = PacketLab(folder, environ)

    def start(self):
        self.lab.start(cluster())
        until(self.lab.felix.ready, 20, "readiness")
        until(self.is_right, 5, "b reaches a and c does not")
        return self

    def is_right(self):
        return self.lab.underlay.probe([tcp(B, A), tcp(C, A)]) == [True, False]

    def kernel(self):
        return state([place.interface for place in PODS])

    def await_kernel(self, wanted, seconds):
        """Returns how long it took until the kernel was so."""
        began = time.monotonic()
        while found := differences(wanted, self.kernel()):
            assert time.monotonic() - began < seconds, "\n".join(found[:60])
            time.sleep(0.05)
        return time.monotonic() - began


@pytest.fixture
def make(tmp_path):
    nodes = []

    def start(**environ):
        folder = tmp_path / str(len(nodes))
        folder.mkdir()
        node = Node(folder, environ)
        nodes.append(node)
        return node

    with netns.private():
        try:
            yield start
        finally:
            for node in nodes:
                node.lab.close()


SHORT = {
    "FELIX_IPTABLESREFRESHINTERVAL": "2",
    "FELIX_IPSETSREFRESHINTERVAL": "2",
    "FELIX_ROUTEREFRESHINTERVAL": "30",
}


# ---- 1: the datastore is away


@pytest.mark.parametrize("silent", [False, True], ids=["killed", "silent"])
def test_scenario_01_the_datastore_is_away(make, silent):
    node = make(FELIX_IPTABLESBACKEND="legacy").start()
    # What the stream asks of pod a, and a change to be followed afterwards: c may come in, too, at another port.
    port = {"protocol": "TCP", "destination": {"ports": [80]}}
    rules = [
        {"action": "Allow", "source": {"selector": "pod == 'b'"}, **port, "protocol": p}
        for p in ("TCP", "UDP")
    ]
    policy = partial(_resource, "NetworkPolicy", "only-b", namespace="default")
    node.lab.felix.apply(policy(spec={"selector": "pod == 'a'", "types": ["Ingress"], "ingress": rules}))
    udp = (B, A, Packet(_ADDRESS[B], _ADDRESS[A], "udp", 19999, 80))
    until(lambda: node.lab.underlay.probe([udp]) == [True], 5, "UDP from b reaches a")
    more = [
        *rules,
        {
            "action": "Allow",
            "source": {"selector": "pod == 'c'"},
            "protocol": "TCP",
            "destination": {"ports": [81]},
        },
    ]

    def change():
        node.lab.felix.apply(policy(spec={"selector": "pod == 'a'", "types": ["Ingress"], "ingress": more}))
        until(lambda: "--dports 81" in shell("iptables-legacy-save -t filter"), 5, "the change is followed")

    stream = datastore_away.Stream(node.lab.underlay, B, C, A)
    datastore_away.check(node.lab.felix, stream, change, AWAY_S, silent=silent)


# ---- 33, 34: others clean up


def test_flushes_are_repaired_in_the_refresh_interval_and_routes_at_once(make):
    node = make(FELIX_IPTABLESBACKEND="legacy", **SHORT).start()
    shell(
        "iptables-legacy -A FORWARD -s 9.9.9.9 -j DROP; ip route add 10.99.0.0/16 via 10.0.0.2 proto static"
    )
    time.sleep(2.5)  # its place among ours is the next refresh's work
    before = node.kernel()
    shell("iptables-legacy -t filter -F; iptables-legacy -A FORWARD -s 9.9.9.9 -j DROP")
    assert node.await_kernel(before, 4) < 3.0
    shell("iptables-legacy -F cali-FORWARD; ipset flush")
    node.await_kernel(before, 4)
    # The kernel tells of routes.
    shell(f"ip route del {_ADDRESS[A]}; ip route del {_ADDRESS[B]}")
    assert node.await_kernel(before, 4) < 1.0
    assert node.is_right()


def test_nft_tells_and_a_flushed_ruleset_is_back_within_a_second(make):
    node = make(FELIX_IPTABLESBACKEND="nft").start()
    rules = "iptables-nft-save | grep -v '^#' | sed 's/\\[.*//' ; ip6tables-nft-save | grep -v '^#' | sed 's/\\[.*//'"
    shell("iptables-nft -A FORWARD -s 9.9.9.9 -j DROP")
    time.sleep(1)
    before = shell(rules)
    for tamper in (
        "iptables-nft -F cali-FORWARD",
        f"iptables-nft -I cali-tw-{_INTERFACE[A]} -j ACCEPT",
        "nft flush ruleset; iptables-nft -A FORWARD -s 9.9.9.9 -j DROP",
    ):
        shell(tamper)
        took_s = until(lambda: sorted(shell(rules).split("\n")) == sorted(before.split("\n")), 4, tamper)
        assert took_s < 1.0, tamper
    assert node.is_right()


def test_a_rule_above_ours_is_moved_once(make):
    node = make(FELIX_IPTABLESBACKEND="legacy", **SHORT).start()
    counted = node.lab.felix.folder / "restores"
    shell("iptables-legacy -I FORWARD -s 9.9.9.9 -j ACCEPT")
    forward = "iptables-legacy -S FORWARD | sed -n 2p"
    assert until(lambda: "cali-FORWARD" in shell(forward), 4, "our jump stands first") < 3.0
    time.sleep(2.5)
    assert "9.9.9.9" in shell("iptables-legacy -S FORWARD")
    assert not counted.exists()


# ---- 35, 36: iptables does not do as it should


def test_a_held_lock_delays_and_no_more(make):
    node = make(FELIX_IPTABLESBACKEND="legacy")
    node.start()
    lock = node.lab.felix.environ["XTABLES_LOCKFILE"]
    holder = subprocess.Popen(["flock", "-o", lock, "sleep", "2"])
    time.sleep(0.1)
    node.lab.felix.delete(_resource("NetworkPolicy", "only-b", {}, "default"))
    waited_s = until(lambda: node.lab.underlay.probe([tcp(C, A)]) == [True], 6, "the policy is gone")
    holder.wait(5)
    assert 1.0 < waited_s < 4.0
    assert node.lab.felix.ready()


def _shim(folder, program, text):
    """A program of that name that comes before the real one in PATH; REAL stands for the real one."""
    shims = folder / "shims"
    shims.mkdir(exist_ok=True)
    real = shell(f"command -v {program}").strip()
    path = shims / program
    path.write_text("#!/bin/sh\n" + text.replace("REAL", real))
    path.chmod(0o755)
    return f"{shims}:{shell('echo $PATH').strip()}"


def test_a_dump_that_fails_or_is_cut_off_is_asked_for_again(make, tmp_path):
    counter = tmp_path / "count"
    script = (
        f"n=$(flock {tmp_path} sh -c 'echo x >> {counter}; wc -l < {counter}')\n"
        '[ $n = 1 ] && exit 3; [ $n = 2 ] && { REAL "$@" | head -3; exit 0; }\nexec REAL "$@"\n'
    )
    node = make(FELIX_IPTABLESBACKEND="legacy", PATH=_shim(tmp_path, "iptables-legacy-save", script)).start()
    assert len(counter.read_text().split()) >= 6
    assert node.is_right()


def test_a_dump_that_never_works_ends_felix(make, tmp_path):
    node = make(FELIX_IPTABLESBACKEND="legacy", PATH=_shim(tmp_path, "iptables-legacy-save", "exit 3\n"))
    node.lab.start(cluster())
    assert node.lab.felix.exit_code(20) not in (0, None)
    assert "Traceback" not in node.lab.felix.log()
    assert "iptables-legacy-save" in node.lab.felix.log()
    assert not node.lab.felix.ready()


# ---- 38, 39: killed, started again


def test_killed_at_any_step_lets_nothing_denied_pass(make, tmp_path):
    """Each program that Felix runs may be its last moment."""
    counter, limit = tmp_path / "count", tmp_path / "limit"
    script = (
        f"n=$(flock {tmp_path} sh -c 'echo x >> {counter}; wc -l < {counter}')\n"
        f"[ $n = $(cat {limit}) ] && kill -9 $PPID\n" + 'exec REAL "$@"\n'
    )
    limit.write_text("0")
    for program in ("iptables-legacy-restore", "ip6tables-legacy-restore", "ipset"):
        path = _shim(tmp_path, program, script)
    node = make(FELIX_IPTABLESBACKEND="legacy", PATH=path).start()
    leaked, stop = [], threading.Event()
    place = threading.Thread(target=_knock, args=(node.lab.underlay, leaked, stop))
    place.start()
    try:
        for step in range(1, 12, 2):
            counter.unlink(missing_ok=True)
            limit.write_text(str(step))
            # A change in many places, so that every phase has work.
            port = 8000 + step
            allow = {"action": "Allow", "protocol": "TCP", "source": {"nets": [f"10.65.{step}.0/24"]},
                     "destination": {"ports": [port]}}  # fmt: skip
            many = {"action": "Allow", "source": {"selector": f"pod == 'b' && !has(x{step})"}, "protocol": "TCP",
                    "destination": {"ports": [80]}}  # fmt: skip
            spec = {"selector": "pod == 'a'", "types": ["Ingress"], "ingress": [allow, many]}
            node.lab.felix.apply(_resource("NetworkPolicy", "only-b", spec, "default"))
            time.sleep(0.4)
            limit.write_text("0")
            node.lab.felix.supervise()
            until(node.lab.felix.ready, 20, f"readiness after step {step}")
            wanted = f"--dports {port}"
            until(lambda wanted=wanted: wanted in shell("iptables-legacy-save -t filter"), 5, "the policy")
    finally:
        stop.set()
        place.join(10)
    assert node.is_right()
    assert len(leaked) == 1
    sent, arrived = leaked[0]
    assert sent > 50
    assert arrived == 0


def _knock(underlay, result, stop):
    """Pod c at pod a, again and again, from threads of its own sockets."""
    import socket

    import wire

    underlay_fd = underlay._spaces[C]
    netns.enter(f"/proc/self/fd/{underlay_fd}")
    sender = socket.socket(socket.AF_INET, socket.SOCK_RAW, wire.NUMBERS["tcp"])
    netns.enter(f"/proc/self/fd/{underlay._spaces[A]}")
    receiver = socket.socket(socket.AF_INET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, wire.NUMBERS["tcp"])
    sender.bind((_ADDRESS[C], 0))
    sent = arrived = 0
    while not stop.is_set():
        packet = Packet(_ADDRESS[C], _ADDRESS[A], "tcp", 20000 + sent % 40000, 80)
        sender.sendto(wire.build(packet, 1 << 24), (packet.dst, 0))
        sent += 1
        time.sleep(0.01)
        try:
            while True:
                data = receiver.recv(2048)
                arrived += data[12:16] == socket.inet_aton(_ADDRESS[C])
        except BlockingIOError:
            pass
    result.append((sent, arrived))


def test_a_restart_rewrites_nothing_and_loses_no_packet(make, tmp_path):
    written = tmp_path / "written"
    script = f'grep -v "^#" | tee -a {written} | REAL "$@"\n'
    for program in ("iptables-legacy-restore", "ip6tables-legacy-restore"):
        path = _shim(tmp_path, program, script)
    node = make(FELIX_IPTABLESBACKEND="legacy", PATH=path).start()
    time.sleep(1)
    before = node.kernel()
    counters = "iptables-legacy-save -c -t filter | grep cali-tw | head -4"
    for number in (signal.SIGTERM, signal.SIGKILL):
        written.write_text("")
        marked = shell(counters)
        node.lab.felix.signal(number)
        node.lab.felix.exit_code(10)
        assert all(node.lab.underlay.probe([tcp(B, A)] * 20 + [tcp(B, C)] * 20))
        node.lab.felix.supervise()
        began = time.monotonic()
        while not node.lab.felix.ready():
            assert node.is_right()
            assert time.monotonic() - began < 10
        assert time.monotonic() - began < 5
        assert written.read_text() == ""
        assert marked.split("]")[0].lstrip("[") <= shell(counters)
    assert node.kernel() == before


# ---- 54: who a pod says it is


def test_spoofed_and_tunnelled_packets_stay_in_the_pod(make):
    node = make(FELIX_IPTABLESBACKEND="legacy").start()
    underlay = node.lab.underlay
    # The same packet with the pod's own address arrives.
    assert underlay.probe([tcp(B, C)]) == [True]
    with underlay.inside(B):
        shell(f"ip addr add {_ADDRESS[A]}/32 dev eth0; ip addr add 10.0.0.55/32 dev eth0")
    for stranger in (_ADDRESS[A], "10.0.0.55"):
        packet = Packet(stranger, _ADDRESS[C], "tcp", 33333, 80)
        assert underlay.probe([(B, C, packet)]) == [False]
    # A packet in a packet (IPIP), and VXLAN.
    inner = struct.pack("!BBHHHBBH4s4s", 69, 0, 20, 1, 0, 64, 6, 0, b"\x0a\x41\0\x0b", b"\x0a\x41\0\x0c")
    with underlay.inside(C):
        import socket

        tunnel = socket.socket(socket.AF_INET, socket.SOCK_RAW, 4)
        tunnel.settimeout(0.3)
    with underlay.inside(B):
        sender = socket.socket(socket.AF_INET, socket.SOCK_RAW, 4)
        sender.bind((_ADDRESS[B], 0))
        sender.sendto(inner, (_ADDRESS[C], 0))
    with pytest.raises(TimeoutError):
        tunnel.recv(100)
    vxlan = Packet(_ADDRESS[B], _ADDRESS[C], "udp", 33333, 4789)
    other = Packet(_ADDRESS[B], _ADDRESS[C], "udp", 33333, 4790)
    assert underlay.probe([(B, C, vxlan), (B, C, other)]) == [False, True]


# ---- 55: host endpoints that deny, and services that nobody serves


def test_failsafes_of_a_host_endpoint_without_policy(make):
    node = make(FELIX_IPTABLESBACKEND="legacy").start()
    spec = {"node": "fx", "interfaceName": "eth0", "expectedIPs": [_HOST]}
    node.lab.felix.apply(_resource("HostEndpoint", "h", spec))
    underlay = node.lab.underlay

    def arrive(source, target, protocol, port):
        ends = {HOST: _HOST, "out0": "10.0.0.2"}
        return (source, target, Packet(ends[source], ends[target], protocol, 40000, port))

    inward = [("tcp", port) for port in (22, 179, 2379, 2380, 5473, 6443, 6666, 6667)] + [("udp", 68)]
    outward = [("tcp", port) for port in (179, 2379, 2380, 5473, 6443, 6666, 6667)] + [
        ("udp", 53),
        ("udp", 67),
    ]
    until(lambda: underlay.probe([arrive("out0", HOST, "tcp", 80)]) == [False], 5, "the host endpoint denies")
    assert all(underlay.probe([arrive("out0", HOST, *each) for each in inward]))
    assert not any(underlay.probe([arrive("out0", HOST, p, port + 1000) for p, port in inward]))
    assert all(underlay.probe([arrive(HOST, "out0", *each) for each in outward]))
    assert not any(underlay.probe([arrive(HOST, "out0", p, port + 1000) for p, port in outward]))


def test_packets_to_services_that_nobody_serves_do_not_circle(make):
    node = make(FELIX_IPTABLESBACKEND="legacy").start()
    underlay = node.lab.underlay
    with underlay.inside("out0"):
        shell("ip addr add 10.96.0.5/32 dev eth0")
    shell("ip route add 10.96.0.0/16 via 10.0.0.2")
    probe = (B, "out0", Packet(_ADDRESS[B], "10.96.0.5", "tcp", 40000, 80))
    assert underlay.probe([probe]) == [True]
    configuration = {"serviceClusterIPs": [{"cidr": "10.96.0.0/16"}]}
    node.lab.felix.apply(_resource("BGPConfiguration", "default", configuration))
    until(lambda: underlay.probe([probe]) == [False], 5, "the service range is cut off")
