"""One Felix in a node's namespace, watched from outside: time, CPU, memory, and packets that tell what is programmed."""

import contextlib
import os
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path

from bench import cluster, world
from pycalico.kernel import netns

_TICK = os.sysconf("SC_CLK_TCK")
_POD = "172.16.0.0"
_PROBE_S = 0.0005


def sh(command):
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"bench: {command}: {done.stderr.strip()}")
    return done.stdout


KINDS = {
    "ours, nftables": (world.PROGRAMS / "calico-felix", {"FELIX_NFTABLESMODE": "Enabled"}),
    "ours, iptables": (world.PROGRAMS / "calico-felix", {"FELIX_NFTABLESMODE": "Disabled"}),
}
if world.UPSTREAM and (Path(world.UPSTREAM) / "calico-felix").exists():
    KINDS["upstream"] = (Path(world.UPSTREAM) / "calico-felix", {})


class Node:
    """The namespaces ``node`` and ``pod``; this one is all that is remote. The pod's interface is that of endpoint 0."""

    def __enter__(self):
        interface, mac = cluster.local_interface(0), cluster.mac_of(0)
        sh(f"""
        ip netns add node; ip netns add pod
        ip link add up0 type veth peer name eth0 netns node
        ip addr add 192.168.10.1/24 dev up0; ip link set up0 up
        ip -n node link set lo up; ip -n node addr add 192.168.10.101/24 dev eth0; ip -n node link set eth0 up
        ip -n node route add default via 192.168.10.1; ip route add {_POD} via 192.168.10.101
        ip -n node link add {interface} type veth peer name eth0 netns pod
        ip -n node link set {interface} up
        ip -n pod link set eth0 address {mac}; ip -n pod link set eth0 up; ip -n pod link set lo up
        ip -n pod addr add {_POD}/32 dev eth0
        ip -n pod route add 169.254.1.1 dev eth0 scope link; ip -n pod route add default via 169.254.1.1 dev eth0
        ip netns exec node sysctl -qw net.ipv4.ip_forward=1 net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.eth0.rp_filter=0
        """)
        # A link that comes up later gives the host another MTU, for which every Felix starts over.
        while "state UP" not in sh("ip -n node link show eth0"):
            time.sleep(0.05)
        self.sender = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
        self.receiver = _in_pod()
        return self

    def __exit__(self, *_):
        self.sender.close()
        self.receiver.close()
        sh("ip netns del node; ip netns del pod; ip link del up0 2>/dev/null || true")

    def send(self, source, port):
        header = struct.pack(
            ">BBHHHBBH4s4s", 0x45, 0, 28, 0, 0, 64, 17, 0, socket.inet_aton(source), socket.inet_aton(_POD)
        )
        with contextlib.suppress(OSError):
            self.sender.sendto(header + struct.pack(">HHHH", 4000, port, 8, 0), (_POD, 0))

    def await_packet(self, source, port, began, at_most_s=20.0):
        """Seconds from ``began`` until a packet of ``source`` comes out in the pod."""
        while True:
            self.send(source, port)
            time.sleep(_PROBE_S)
            while True:
                try:
                    data = self.receiver.recv(128)
                except BlockingIOError:
                    break
                if data[12:16] == socket.inet_aton(source) and data[22:24] == struct.pack(">H", port):
                    return time.perf_counter() - began
            if time.perf_counter() - began > at_most_s:
                return float("inf")


def _in_pod():
    """A raw socket that was made there and can be read from here."""
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    netns.enter("/run/netns/pod")
    try:
        receiver = socket.socket(socket.AF_INET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.IPPROTO_UDP)
    finally:
        netns.enter(f"/proc/self/fd/{home}")
        os.close(home)
    return receiver


class Felix:
    """A context manager; `cold_s` is the time until its readiness says that all is programmed."""

    def __init__(self, kind, folder, at_most_s=120.0):
        program, environ = KINDS[kind]
        self._log = folder / f"{kind.replace(', ', '-')}.log"
        self._at_most_s = at_most_s
        self._argv = ["ip", "netns", "exec", "node", str(program)]
        self._environ = {
            "PATH": os.environ["PATH"],
            "DATASTORE_TYPE": "etcdv3",
            "ETCD_ENDPOINTS": "http://192.168.10.1:2379",
            "FELIX_FELIXHOSTNAME": cluster.NODE,
            "FELIX_IPTABLESBACKEND": "legacy",
            "FELIX_LOGSEVERITYSCREEN": "warning",
            "FELIX_LOGFILEPATH": "none",
            "FELIX_HEALTHENABLED": "true",
            "FELIX_USAGEREPORTINGENABLED": "false",
            **environ,
        }

    def __enter__(self):
        began = time.perf_counter()
        with self._log.open("w") as log:
            self.process = subprocess.Popen(self._argv, env=self._environ, stdout=log, stderr=log)
        ask = ["ip", "netns", "exec", "node", sys.executable, "-c", _AWAIT, str(self._at_most_s)]
        done = subprocess.run(ask)
        self.cold_s = time.perf_counter() - began
        if done.returncode:
            self.__exit__()
            sys.exit(
                f"bench: {self._argv[-1]} was not ready in {self._at_most_s} s: {self._log.read_text()[-500:]}"
            )
        self.cold_cpu_s = self.cpu_s()
        return self

    def __exit__(self, *_):
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def cpu_s(self):
        """Its own and that of the programs it ran."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return sum(map(int, fields[11:15])) / _TICK

    def rss_mib(self, name="VmHWM"):
        text = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(text.split(f"{name}:")[1].split()[0]) / 1024

    def idle_share(self, seconds):
        before, began = self.cpu_s(), time.perf_counter()
        time.sleep(seconds)
        return (self.cpu_s() - before) / (time.perf_counter() - began)


_AWAIT = """
import sys, time, urllib.request
end = time.monotonic() + float(sys.argv[1])
while time.monotonic() < end:
    try:
        if urllib.request.urlopen("http://localhost:9099/readiness", timeout=5).status in (200, 204):
            sys.exit(0)
    except OSError:
        pass
    time.sleep(0.02)
sys.exit(1)
"""
