"""A node, its pods and two networks around it, each a network namespace; probes between any two of them.

The node is the namespace of the calling thread. A probe is one packet, made by hand, that either comes out of a raw
socket at its destination (after every chain of the node has seen it) or does not. Hundreds are under way at once.
"""

import contextlib
import ctypes
import os
import select
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import wire

from pycalico.kernel import netns

_CLONE_NEWNET = 0x40000000
_SO_RCVBUFFORCE = 33
_libc = ctypes.CDLL(None, use_errno=True)
GATEWAY_MAC = "ee:ee:ee:ee:ee:ee"
HOST = "host"
#: How long a packet may take. All of it happens in this machine's memory, in the sender's own time slice.
_ARRIVAL_S = 0.12
_BURST = 60


@dataclass(frozen=True)
class Place:
    """``interface`` is the node's interface that leads there, or HOST."""

    name: str
    interface: str
    ipv4: tuple
    ipv6: tuple
    mac: str = ""

    def addresses(self, version):
        return self.ipv6 if version == 6 else self.ipv4


def _run(*commands, families=("",)):
    for family in families:
        text = "\n".join(commands)
        done = subprocess.run(
            ["ip", *([family] if family else []), "-batch", "-"], input=text, text=True, capture_output=True
        )
        assert not done.returncode, f"{done.stderr}\n{text}"


class Underlay:
    """``pods``: places whose interface is to be made; ``outside``: those that sit behind a host's interface."""

    def __init__(self, pods, outside, host_addresses):
        self.pods = {place.name: place for place in pods}
        self.outside = {place.name: place for place in outside}
        #: interface -> its addresses with prefix lengths
        self.host_addresses = host_addresses
        every = [address.split("/")[0] for found in host_addresses.values() for address in found]
        self.host = Place(
            HOST,
            HOST,
            tuple(address for address in every if ":" not in address),
            tuple(address for address in every if ":" in address),
        )
        self.places = {**self.pods, **self.outside, HOST: self.host}
        self._home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        self._spaces = {}
        self._receivers = {}
        self._senders = {}
        self._poll = select.epoll()
        self._next = 1
        #: probe number -> name of the place where it came out
        self.arrived = {}

    # ---- building

    @contextlib.contextmanager
    def inside(self, name):
        """The calling thread, and what it starts, at that place."""
        if name == HOST:
            yield
            return
        try:
            assert not _libc.setns(self._spaces[name], _CLONE_NEWNET)
            yield
        finally:
            assert not _libc.setns(self._home, _CLONE_NEWNET)

    def build(self):
        for name in (*self.pods, *self.outside):
            with netns.private():
                self._spaces[name] = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        for number, place in enumerate(self.pods.values(), 1):
            self._build_pod(number, place)
        for number, place in enumerate(self.outside.values(), 1):
            self._build_outside(number, place)
        for name in self.places:
            self._listen(name)
        return self

    def _pair(self, ours, number, name):
        path = f"/proc/{os.getpid()}/fd/{self._spaces[name]}"
        _run(f"link add {ours} type veth peer name p{number}", f"link set p{number} netns {path} name eth0")

    def _quiet_ipv6(self):
        for setting in ("accept_dad", "router_solicitations"):
            for scope in ("all", "default", "eth0"):
                with contextlib.suppress(OSError):
                    Path(f"/proc/sys/net/ipv6/conf/{scope}/{setting}").write_text("0")

    def _build_pod(self, number, place):
        self._pair(place.interface, number, place.name)
        with self.inside(place.name):
            self._quiet_ipv6()
            _run(
                "link set lo up",
                f"link set eth0 address {place.mac}",
                "link set eth0 up",
                *(f"addr add {address}/32 dev eth0" for address in place.ipv4),
                *(f"addr add {address}/128 dev eth0 nodad" for address in place.ipv6),
                "route add 169.254.1.1 dev eth0 scope link",
                f"neigh add 169.254.1.1 lladdr {GATEWAY_MAC} dev eth0 nud permanent",
                f"route add default via 169.254.1.1 dev eth0 src {place.ipv4[0]}",
                f"neigh add fe80::1 lladdr {GATEWAY_MAC} dev eth0 nud permanent",
                f"route add default via fe80::1 dev eth0 src {place.ipv6[0]}",
            )
        _run(
            f"link set {place.interface} address {GATEWAY_MAC}",
            f"link set {place.interface} up",
            *(
                f"neigh add {address} lladdr {place.mac} dev {place.interface} nud permanent"
                for address in place.ipv6
            ),
        )

    def _build_outside(self, number, place):
        interface = place.interface
        _run(f"link add {interface} type veth peer name q{number}") if not os.path.exists(
            f"/proc/sys/net/ipv4/conf/{interface}"
        ) else None
        _run(f"link set q{number} netns /proc/{os.getpid()}/fd/{self._spaces[place.name]} name eth0")
        mac, ours = f"02:00:00:00:ff:{number:02x}", f"02:00:00:00:fe:{number:02x}"
        gateways = [address.split("/")[0] for address in self.host_addresses[interface]]
        with self.inside(place.name):
            self._quiet_ipv6()
            _run(
                "link set lo up",
                f"link set eth0 address {mac}",
                "link set eth0 up",
                *(f"addr add {address}/24 dev eth0" for address in place.ipv4),
                *(f"addr add {address}/64 dev eth0 nodad" for address in place.ipv6),
                *(f"neigh add {address} lladdr {ours} dev eth0 nud permanent" for address in gateways),
                *(f"route add default via {address} dev eth0" for address in gateways),
            )
        _run(
            f"link set {interface} address {ours}",
            f"link set {interface} up",
            *(
                f"addr replace {address} dev {interface}{' nodad' if ':' in address else ''}"
                for address in self.host_addresses[interface]
            ),
            *(
                f"neigh add {address} lladdr {mac} dev {interface} nud permanent"
                for address in (*place.ipv4, *place.ipv6)
            ),
        )

    def _listen(self, name):
        with self.inside(name):
            for version, protocols in ((4, "tcp udp sctp icmp"), (6, "tcp udp sctp icmpv6")):
                for protocol in protocols.split():
                    family = socket.AF_INET6 if version == 6 else socket.AF_INET
                    receiver = socket.socket(
                        family, socket.SOCK_RAW | socket.SOCK_NONBLOCK, wire.NUMBERS[protocol]
                    )
                    receiver.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 4 << 20)
                    self._poll.register(receiver, select.EPOLLIN)
                    self._receivers[receiver.fileno()] = (name, protocol, version, receiver)

    # ---- probing

    def send(self, source, packet):
        """Returns the probe's number."""
        number = self._next
        self._next += 1
        key = (source, packet.protocol, packet.src)
        if key not in self._senders:
            family = socket.AF_INET6 if packet.version == 6 else socket.AF_INET
            with self.inside(source):
                sender = socket.socket(family, socket.SOCK_RAW, wire.NUMBERS[packet.protocol])
            sender.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
            sender.bind((packet.src, 0))
            self._senders[key] = sender
        # A drop on the way out of the host itself is told to the sender, and so is a missing route.
        with contextlib.suppress(OSError):
            self._senders[key].sendto(wire.build(packet, number), (packet.dst, 0))
        return number

    def collect(self, wait_s=_ARRIVAL_S):
        """Takes what arrives until nothing has for ``wait_s``."""
        end = time.monotonic() + wait_s
        while (left_s := end - time.monotonic()) > 0:
            for handle, _ in self._poll.poll(left_s):
                name, protocol, version, receiver = self._receivers[handle]
                with contextlib.suppress(BlockingIOError):
                    while True:
                        data = receiver.recv(2048)
                        body = data[(data[0] & 15) * 4 :] if version == 4 else data
                        number = wire.probe_of(protocol, body)
                        if number is not None and number not in self.arrived:
                            self.arrived[number] = name
                            end = time.monotonic() + wait_s

    def probe(self, probes):
        """``probes``: (source, target, packet) each; for each whether it arrived at its target, in order."""
        numbers = []
        for index, (source, _, packet) in enumerate(probes, 1):
            numbers.append(self.send(source, packet))
            if index % _BURST == 0:
                self.collect(0.0001)
        self.collect()
        return [
            self.arrived.pop(number, None) == target
            for number, (_, target, _) in zip(numbers, probes, strict=True)
        ]

    def forget_connections(self):
        """Of the probes only: the node's own connections go on."""
        for family, net in (("ipv4", "10.0.0.0/8"), ("ipv6", "fd00::/8")):
            subprocess.run(["conntrack", "-f", family, "-D", "-s", net], capture_output=True)

    def close(self):
        for *_, receiver in self._receivers.values():
            receiver.close()
        for sender in self._senders.values():
            sender.close()
        self._poll.close()
        for handle in (*self._spaces.values(), self._home):
            os.close(handle)
