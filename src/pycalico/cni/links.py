"""A pod's pair of interfaces, addresses, routes and sysctls."""

from __future__ import annotations

import errno
import os
import re
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec

from pycalico.cni.errors import CNIError
from pycalico.kernel import linkrequests, netlink, netns
from pycalico.kernel.requests import Channel, Request

_HOST_MAC = "ee:ee:ee:ee:ee:ee"
_GATEWAY = "169.254.1.1"
#: As Go takes them; the kernel looks at the first six bytes.
_MAC = re.compile(
    r"[0-9a-fA-F]{2}([:-][0-9a-fA-F]{2}){5}(([:-][0-9a-fA-F]{2}){2})?|([0-9a-fA-F]{4}\.){2,3}[0-9a-fA-F]{4}"
)
_MAC_DIGITS = 12
_LINK_LOCAL_S, _LINK_LOCAL_STEP_S = 0.5, 0.005
_UNLISTED_STEP_S = 0.001
_ANYWHERE = {4: "0.0.0.0/0", 6: "::/0"}
_HOST_LENGTH = {4: 32, 6: 128}


class Pair(msgspec.Struct):
    """What is to be made. ``routes`` are destinations inside the pod, the default routes when empty."""

    host: str
    ifname: str
    netns: str
    addresses: list[str]
    mtu: int = 0
    queues: int = 1
    mac: str | None = None
    forwarding: bool = False
    routes: Sequence[str] = ()

    def of_family(self, version: int) -> list[str]:
        return [item for item in self.addresses if (":" in item) == (version == 6)]

    def destinations(self, version: int) -> list[str]:
        return [item for item in self.routes or _ANYWHERE.values() if (":" in item) == (version == 6)]


def check_netns(path: str, shown: str) -> None:
    """Raises CNIError when ``path`` is no network namespace; ``shown`` is what the runtime calls it."""
    if not os.path.exists(path):  # noqa: PTH110 - the text of the runtime, not ours
        raise CNIError(f'failed to Statfs "{shown}": no such file or directory')
    try:
        with inside(path):
            pass
    except OSError as error:
        raise CNIError(f'"{shown}" is not a network namespace: {_reason(error)}') from error


@contextmanager
def inside(path: str) -> Iterator[None]:
    """This thread works in the network namespace ``path`` for a while. Raises OSError."""
    home = f"/proc/self/fd/{os.open('/proc/thread-self/ns/net', os.O_RDONLY | os.O_CLOEXEC)}"
    try:
        netns.enter(path)
        try:
            yield
        finally:
            netns.enter(home)
    finally:
        os.close(int(home.rpartition("/")[2]))


def connect(pair: Pair) -> str:
    """Makes the pair and wires it up; returns the MAC address of the pod's end. Raises CNIError.

    A link of the host's name that is left from before is replaced; so is the pod's end of that name.
    """
    try:
        with Channel() as host, _pods_channel(pair.netns) as pod:
            return _connect(pair, host, pod)
    except OSError as error:
        raise CNIError(
            f"cannot set up the interfaces {pair.ifname} and {pair.host}: {_reason(error)}"
        ) from error


@contextmanager
def _pods_channel(path: str) -> Iterator[Channel]:
    with inside(path):
        channel = Channel()
    with channel:
        yield channel


def _connect(pair: Pair, host: Channel, pod: Channel) -> str:
    host.run([linkrequests.delete_link(pair.host)])
    pod.run([linkrequests.delete_link(pair.ifname)])
    namespace = os.open(pair.netns, os.O_RDONLY | os.O_CLOEXEC)
    try:
        host.do([linkrequests.add_pair(pair.host, _HOST_MAC, pair.ifname, namespace, pair.mtu, pair.queues)])
    finally:
        os.close(namespace)
    outer, inner = _index(host, pair.host), _index(pod, pair.ifname)
    _host_sysctls(pair)
    host.do([linkrequests.set_up(outer)])
    with inside(pair.netns):
        _pod_sysctls(pair)
    pod.do([linkrequests.set_up(inner)])
    if pair.mac is not None:
        _set_mac(pod, inner, pair.mac)
    pod.do(_pod_requests(pair, inner))
    if pair.of_family(6):
        gateway = _link_local(outer)
        pod.do(
            [
                linkrequests.add_route(inner, destination, gateway=gateway, replace=True)
                for destination in pair.destinations(6)
            ]
        )
    for item in pair.addresses:
        _host_route(host, outer, pair.host, item.split("/")[0])
    made = linkrequests.link(pod, pair.ifname)
    return made.mac if made is not None else ""


def _index(channel: Channel, name: str) -> int:
    found = linkrequests.link(channel, name)
    if found is None:
        raise OSError(errno.ENODEV, f"link {name} went as soon as it was made")
    return found.index


def _set_mac(pod: Channel, index: int, mac: str) -> None:
    """Looked at this late since upstream, too, has made the links by then (recorded): DEL finds them."""
    asked = "via cni.projectcalico.org/hwAddr"
    if not _MAC.fullmatch(mac):
        why = f"address {mac}: invalid MAC address" if mac else "invalid MAC address"
        raise CNIError(f"failed to parse MAC address {mac} provided {asked}: {why}")
    digits = re.sub(r"[^0-9a-fA-F]", "", mac)[:_MAC_DIGITS]
    try:
        pod.do([linkrequests.set_mac(index, ":".join(re.findall("..", digits)))])
    except OSError as error:
        why = os.strerror(error.errno).lower() if error.errno else _reason(error)
        raise CNIError(f"failed to set container veth MAC to {mac} as requested {asked}: {why}") from error


def _pod_requests(pair: Pair, index: int) -> list[Request]:
    found: list[Request] = []
    if pair.of_family(4):
        found.append(
            linkrequests.add_route(index, f"{_GATEWAY}/32", scope=linkrequests.LINK_SCOPE, replace=True)
        )
        found += [
            linkrequests.add_route(index, destination, gateway=_GATEWAY)
            for destination in pair.destinations(4)
        ]
    return [*found, *(linkrequests.add_address(index, item) for item in pair.addresses)]


def _host_sysctls(pair: Pair) -> None:
    name = pair.host
    _sysctl(f"ipv6/conf/{name}/accept_ra", "0", must=False)
    if pair.of_family(4):
        _sysctl(f"ipv4/conf/{name}/route_localnet", "1")
        _sysctl(f"ipv4/neigh/{name}/proxy_delay", "0", must=False)
        _sysctl(f"ipv4/conf/{name}/proxy_arp", "1")
        _sysctl(f"ipv4/conf/{name}/forwarding", "1")
    if pair.of_family(6):
        _sysctl(f"ipv6/conf/{name}/disable_ipv6", "0")
        _sysctl(f"ipv6/conf/{name}/accept_dad", "0")
        _sysctl(f"ipv6/conf/{name}/proxy_ndp", "1")
        _sysctl(f"ipv6/conf/{name}/forwarding", "1")


def _pod_sysctls(pair: Pair) -> None:
    if pair.of_family(6):
        for name in ("all", "default", "lo"):
            _sysctl(f"ipv6/conf/{name}/disable_ipv6", "0", must=False)
        _sysctl(f"ipv6/conf/{pair.ifname}/accept_dad", "0")
    for version, name in ((4, "ipv4/ip_forward"), (6, "ipv6/conf/all/forwarding")):
        if pair.of_family(version):
            _sysctl(name, "1" if pair.forwarding else "0")


def _sysctl(name: str, value: str, *, must: bool = True) -> None:
    """/proc/sys/net shows the namespace of the thread that opens it."""
    path = Path("/proc/sys/net") / name
    try:
        path.write_text(value)
    except OSError as error:
        if must:
            raise CNIError(f"failed to set {path} to {value}: {error.strerror}") from error


def _host_route(channel: Channel, index: int, host: str, address: str) -> None:
    version = 6 if ":" in address else 4
    destination = f"{address}/{_HOST_LENGTH[version]}"
    scope = linkrequests.UNIVERSE if version == 6 else linkrequests.LINK_SCOPE
    (code,) = channel.run([linkrequests.add_route(index, destination, scope=scope)])
    if not code:
        return
    owner = next((route.oif for route in netlink.routes(version) if route.dst == destination), 0)
    if owner == index:
        return
    if not owner:
        raise CNIError(f"failed to add route {destination} to {host}: {os.strerror(code).lower()}")
    raise CNIError(
        f"route (Dst: {destination}, Scope: link) already exists for an interface other than "
        f"'{host}': route (Iface: {_name(owner)}, Dst: {destination})"
    )


def _name(index: int) -> str:
    try:
        return socket.if_indextoname(index)
    except OSError:
        return str(index)


def _link_local(index: int) -> str:
    deadline = time.monotonic() + _LINK_LOCAL_S
    while True:
        for found in netlink.addresses():
            if found.index == index and found.address.startswith("fe80:"):
                return found.address
        if time.monotonic() > deadline:
            raise CNIError("failed to get IPv6 addresses for host side of the veth pair")
        time.sleep(_LINK_LOCAL_STEP_S)


def disconnect(path: str, ifname: str) -> None:
    """Removes the pod's end, and with it the host's; a namespace or link that is gone is success. Raises CNIError.

    The kernel unlists both ends at once, with their routes, and then waits 20-50 ms for its own readers (measured):
    what nobody sees any more is not waited for.
    """
    if not path or not os.path.exists(path):  # noqa: PTH110
        return
    try:
        with inside(path):
            working, looking = Channel(), Channel()
    except OSError:
        return
    outcome: list[int] = []

    def work() -> None:
        with working:
            outcome.extend(working.run([linkrequests.delete_link(ifname)]))

    worker = threading.Thread(target=work, name="unlink")
    worker.start()
    try:
        with looking:
            while worker.is_alive():
                worker.join(_UNLISTED_STEP_S)
                if linkrequests.link(looking, ifname) is None:
                    return
    except OSError as error:
        raise CNIError(f"cannot see whether {ifname} is gone from {path}: {_reason(error)}") from error
    if outcome and outcome[0] not in (0, errno.ENODEV):
        raise CNIError(f"failed to delete {ifname} in {path}: {os.strerror(outcome[0]).lower()}")


def _reason(error: OSError) -> str:
    return error.strerror or str(error)
