"""What policy costs a packet: a pod pair behind 2,000 policies beside one behind none, with nftables.

TCP stream, 64-byte UDP and connections per second. Both pairs are there all the time and take turns of a fraction of a second,
now one first and now the other: what else the machine does concerns both alike. The median of the turns' shares counts.
UDP goes as iperf3 sends it: the first datagram is answered, so that it is a connection to the kernel. Where nothing
ever answers, each datagram meets the policies; that row has no promise.
"""

import contextlib
import os
import statistics
import subprocess
import sys
import threading
import time

from rich.console import Console
from rich.table import Table

from bench import world
from pycalico.calc.messages import (
    InSync,
    IPSetType,
    IPSetUpdate,
    PolicyID,
    PolicyLists,
    PolicyUpdate,
    PortRange,
    ProfileUpdate,
    Rule,
    WorkloadEndpointID,
    WorkloadEndpointUpdate,
)
from pycalico.dataplane.config import DataplaneConfig
from pycalico.dataplane.engine import Dataplane

_POLICIES = 2000
_TURNS = 30
_SECONDS = float(os.environ.get("BENCH_SECONDS", "0.25"))
_GATEWAY = "ee:ee:ee:ee:ee:ee"
#: Interface, address and MAC address of client and server.
_WITHOUT = (("cali1", "172.16.0.1", "02:00:00:00:00:01"), ("cali2", "172.16.0.2", "02:00:00:00:00:02"))
_BEHIND = (("cali3", "172.16.0.3", "02:00:00:00:00:03"), ("cali4", "172.16.0.4", "02:00:00:00:00:04"))
_PODS = (*_WITHOUT, *_BEHIND)
_SERVER, _CLIENT = 0, 1
#: name: (what the programs call it, whose figure counts, its unit, at least this share of the rate without policy)
_KINDS = {
    "TCP stream": ("tcp", _SERVER, "Gbit/s", 0.97),
    "64-byte UDP": ("udp", _SERVER, "kpps", 0.97),
    "connections": ("connections", _CLIENT, "1/s", 0.90),
    "64-byte UDP, never answered": ("udp-unanswered", _SERVER, "kpps", None),
}


def main() -> None:
    if not world.inside("packets"):
        return
    with world.Place(), _pods():
        for how, policies in (("one port each", _by_port), ("one port, sets each", _by_set)):
            _compare(how, list(policies()))


def _sh(command):
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"bench: {command}: {done.stderr.strip()}")


@contextlib.contextmanager
def _pods():
    _sh("ip link set lo up")
    for interface, address, mac in _PODS:
        _sh(f"""
        ip netns add {interface}; ip link add {interface} type veth peer name eth0 netns {interface}
        ip -n {interface} link set eth0 address {mac}; ip -n {interface} link set eth0 up
        ip -n {interface} link set lo up; ip -n {interface} addr add {address}/32 dev eth0
        ip -n {interface} route add 169.254.1.1 dev eth0 scope link
        ip -n {interface} route add default via 169.254.1.1 dev eth0
        ip -n {interface} neigh add 169.254.1.1 lladdr {_GATEWAY} dev eth0 nud permanent
        ip link set {interface} address {_GATEWAY}; ip link set {interface} up
        """)
    try:
        yield
    finally:
        for interface, *_ in _PODS:
            _sh(f"ip netns del {interface}")


def _by_port():
    """Each policy allows its own port; the pair's is the last one's."""
    for number in range(_POLICIES):
        port = 20000 + number if number < _POLICIES - 1 else 5201
        for protocol in ("tcp", "udp"):
            yield number, Rule("allow", protocol=protocol, dst_ports=(PortRange(port, port),))


def _by_set():
    """Each policy allows its own set of addresses the same port; the pair is in the last one's."""
    for number in range(_POLICIES):
        for protocol in ("tcp", "udp"):
            ports = (PortRange(5201, 5201),)
            yield number, Rule("allow", protocol=protocol, dst_ports=ports, src_ip_set_ids=(f"s:{number}",))


def _messages(rules):
    everything = (Rule("allow"),)
    yield ProfileUpdate("open", everything, everything)
    chains = {}
    for number, rule in rules:
        chains.setdefault(number, []).append(rule)
        for set_id in rule.src_ip_set_ids:
            members = tuple(f"10.{number >> 8}.{number & 255}.{n}" for n in range(20))
            last = tuple(address for _, address, _ in _BEHIND) if number == _POLICIES - 1 else ()
            yield IPSetUpdate(set_id, IPSetType("hash:net"), (*members, *last))
    names = tuple(f"default.p{number:05}" for number in chains)
    for name, inbound in zip(names, chains.values(), strict=True):
        yield PolicyUpdate(PolicyID("default", name), tuple(inbound), everything, original_selector="all()")
    for pod in _PODS:
        interface, address, mac = pod
        lists = (PolicyLists("default", names, ()),) if pod in _BEHIND else ()
        identity = WorkloadEndpointID("k8s", f"default/{interface}", "eth0")
        yield WorkloadEndpointUpdate(
            identity, interface, mac=mac, profiles=("open",), ipv4_nets=(f"{address}/32",), tiers=lists
        )


@contextlib.contextmanager
def _dataplane(rules):
    config = DataplaneConfig(
        hostname="bench", ipv6=False, nftables_mode="Enabled", mtu_file="", mtu_interface_pattern="^cali"
    )
    dataplane, stop = Dataplane(config), threading.Event()
    thread = threading.Thread(target=dataplane.run, args=(stop,), daemon=True)
    thread.start()
    dataplane.put([*_messages(rules), InSync()])
    while not (dataplane.status().started and dataplane.status().in_sync):
        time.sleep(0.02)
    try:
        yield
    finally:
        stop.set()
        dataplane.put([])
        thread.join()


def _compare(how, rules):
    found = {kind: [] for kind in _KINDS}
    with _dataplane(rules):
        for turn in range(_TURNS):
            for kind in _KINDS:
                if turn % 2:
                    behind, without = _rate(kind, _BEHIND), _rate(kind, _WITHOUT)
                else:
                    without, behind = _rate(kind, _WITHOUT), _rate(kind, _BEHIND)
                found[kind].append((without, behind))
    table = Table(
        title=f"{_POLICIES:,} policies, {how}: {_TURNS} turns, medians", title_justify="left", box=None
    )
    for heading in ("", "without", "behind", "share % (quartiles)", "promised %"):
        table.add_column(heading, justify="right" if heading else "left")
    for kind, (*_, unit, least) in _KINDS.items():
        without, behind = (statistics.median(rates) for rates in zip(*found[kind], strict=True))
        low, share, high = statistics.quantiles([two / one * 100 for one, two in found[kind]], n=4)
        table.add_row(
            f"{kind}, {unit}",
            f"{without:.2f}",
            f"{behind:.2f}",
            f"{share:.1f} ({low:.0f} to {high:.0f})",
            f"{least * 100:.0f}" if least else "-",
        )
    Console(width=100).print(table)


def _rate(kind, pair):
    program, told_by, *_ = _KINDS[kind]
    return float(_said(program, pair)[told_by])


_PROGRAM = """
import socket, sys, time
kind, role, address, seconds = sys.argv[1], sys.argv[2], sys.argv[3], float(sys.argv[4])
stream = not kind.startswith("udp")
s = socket.socket(socket.AF_INET, socket.SOCK_STREAM if stream else socket.SOCK_DGRAM)
s.settimeout(10)
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
if role == "server":
    s.bind((address, 5201))
    if stream: s.listen(1024)
    print("ready", flush=True)
    if kind == "tcp":
        c, _ = s.accept(); total = 0; buffer = bytearray(1 << 20); began = time.perf_counter()
        while n := c.recv_into(buffer): total += n
        print(total * 8 / 1e9 / (time.perf_counter() - began))
    elif not stream:
        s.setsockopt(socket.SOL_SOCKET, 33, 32 << 20); count = 0; first = last = 0
        data, peer = s.recvfrom(128)
        if kind == "udp": s.sendto(data, peer)
        s.settimeout(0.2)
        try:
            while True:
                s.recv(128); last = time.perf_counter(); first = first or last; count += 1
        except TimeoutError: pass
        print(count / 1e3 / (last - first))
    else:
        s.settimeout(0.5)
        try:
            while True: s.accept()[0].close()
        except TimeoutError: pass
        print(0)
else:
    end = time.perf_counter() + seconds; count = 0; began = time.perf_counter()
    if kind == "tcp":
        s.connect((address, 5201)); data = b"x" * (1 << 17)
        while time.perf_counter() < end: s.sendall(data)
        s.close()
    elif not stream:
        s.connect((address, 5201)); data = b"x" * 22; s.send(data)
        if kind == "udp": s.recv(128)
        while time.perf_counter() < end:
            for _ in range(100): s.send(data)
    else:
        while time.perf_counter() < end:
            c = socket.socket(); c.connect((address, 5201)); c.recv(1); c.close(); count += 1
        print(count / (time.perf_counter() - began))
"""


def _said(kind, pair):
    """(what the server says, what the client says)."""
    (client, *_), (server, address, _) = pair

    def start(where, role):
        argv = [
            "ip",
            "netns",
            "exec",
            where,
            sys.executable,
            "-c",
            _PROGRAM,
            kind,
            role,
            address,
            str(_SECONDS),
        ]
        return subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)

    listening = start(server, "server")
    listening.stdout.readline()
    calling = start(client, "client")
    said = calling.communicate(timeout=60)[0]
    return listening.communicate(timeout=60)[0], said
