"""A pod's pair of interfaces, addresses, routes and sysctls.

Done with batches of iproute2's ``ip``: 2-4 ms each, where importing the netlink library costs 136 ms in a
process that lives for one pod.
"""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec

from pycalico.cni.errors import CNIError

_HOST_MAC = "ee:ee:ee:ee:ee:ee"
_GATEWAY = "169.254.1.1"
_MAC = re.compile(r"^([0-9a-fA-F]{2}[:-]){5}[0-9a-fA-F]{2}$")
_LINK_LOCAL_TRIES, _LINK_LOCAL_WAIT_S = 10, 0.05
_DELETE_S = 20


class Pair(msgspec.Struct):
    """What is to be made. ``routes`` are destinations inside the pod, per family the default route when empty."""

    host: str
    ifname: str
    netns: str
    addresses: list[str]
    mtu: int = 0
    queues: int = 1
    mac: str = ""
    forwarding: bool = False
    routes: Sequence[str] = ()

    def of_family(self, version: int) -> list[str]:
        return [item for item in self.addresses if (":" in item) == (version == 6)]


def check_netns(path: str) -> None:
    """Raises CNIError when ``path`` is no network namespace."""
    if not os.path.exists(path):  # noqa: PTH110 - the text of the runtime, not ours
        raise CNIError(f'failed to Statfs "{path}": no such file or directory')
    try:
        with inside(path):
            pass
    except OSError as error:
        raise CNIError(f'"{path}" is not a network namespace: {error.strerror}') from error


@contextmanager
def inside(netns: str) -> Iterator[None]:
    """This thread works in ``netns`` for a while."""
    with open("/proc/thread-self/ns/net", "rb") as home, open(netns, "rb") as there:  # noqa: PTH123
        _setns(there.fileno())
        try:
            yield
        finally:
            _setns(home.fileno())


def _setns(descriptor: int) -> None:
    import ctypes  # noqa: PLC0415 - 3.11 has no os.setns; loaded once per pod

    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(descriptor, 0x40000000) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def connect(pair: Pair) -> str:
    """Makes the pair and wires it up; returns the MAC address of the pod's end. Raises CNIError.

    A link of the host's name that is left from before is replaced; so is the pod's end of that name.
    """
    ip(["link del " + pair.host], force=True)
    with open("/proc/thread-self/ns/net", "rb") as home:  # noqa: PTH123
        pid = f"/proc/{os.getpid()}/fd/{home.fileno()}"
        with inside(pair.netns):
            options = f" mtu {pair.mtu}" if pair.mtu else ""
            queues = f" numtxqueues {pair.queues} numrxqueues {pair.queues}" if pair.queues > 1 else ""
            ip(["link del " + pair.ifname], force=True)
            ip(
                [
                    f"link add {pair.ifname}{options}{queues} type veth peer name {pair.host} netns {pid}",
                ]
            )
    ip([f"link set {pair.host} address {_HOST_MAC}"], force=True)
    _host_sysctls(pair)
    ip([f"link set {pair.host} up" + (f" mtu {pair.mtu}" if pair.mtu else "")])
    with inside(pair.netns):
        if pair.of_family(6):
            for name in ("all", "default", "lo"):
                _sysctl(f"ipv6/conf/{name}/disable_ipv6", "0", must=False)
            _sysctl(f"ipv6/conf/{pair.ifname}/accept_dad", "0")
        ip([f"link set {pair.ifname} up"])
        if pair.mac:
            if not _MAC.match(pair.mac):
                raise CNIError(
                    f"failed to parse MAC address {pair.mac} provided via cni.projectcalico.org/hwAddr: "
                    f"address {pair.mac}: invalid MAC address"
                )
            ip([f"link set {pair.ifname} address {pair.mac}"])
    gateway6 = _link_local(pair.host) if pair.of_family(6) else ""
    with inside(pair.netns):
        ip(_pod_batch(pair))
        if gateway6:
            ip(
                [
                    f"route replace {destination} via {gateway6} dev {pair.ifname}"
                    for destination in _destinations(pair, 6, "default")
                ],
                family=6,
            )
        for version, name in ((4, "ipv4/ip_forward"), (6, "ipv6/conf/all/forwarding")):
            if pair.of_family(version):
                _sysctl(name, "1" if pair.forwarding else "0")
        address = _mac_of(pair.ifname)
    for item in pair.addresses:
        _host_route(pair.host, item.split("/")[0])
    return address


def _pod_batch(pair: Pair) -> list[str]:
    lines: list[str] = []
    if pair.of_family(4):
        lines.append(f"route replace {_GATEWAY} dev {pair.ifname} scope link")
        lines += [
            f"route add {destination} via {_GATEWAY} dev {pair.ifname}"
            for destination in _destinations(pair, 4, "default")
        ]
    lines += [f"addr add {item} dev {pair.ifname}" for item in pair.addresses]
    return lines


def _destinations(pair: Pair, version: int, default: str) -> list[str]:
    chosen = [item for item in pair.routes if (":" in item) == (version == 6)]
    return [default if item in ("0.0.0.0/0", "::/0") else item for item in chosen] or [default]


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


def _sysctl(name: str, value: str, *, must: bool = True) -> None:
    """/proc/sys/net shows the namespace of the thread that opens it."""
    path = Path("/proc/sys/net") / name
    try:
        path.write_text(value)
    except OSError as error:
        if must:
            raise CNIError(f"failed to set {path} to {value}: {error.strerror}") from error


def _host_route(host: str, address: str) -> None:
    family, length, scope = (6, 128, "") if ":" in address else (4, 32, " scope link")
    failure = ip([f"route add {address}/{length} dev {host}{scope}"], check=False, family=family)
    if not failure:
        return
    present = _output(["ip", f"-{family}", "route", "show", f"{address}/{length}"]).split()
    owner = present[present.index("dev") + 1] if "dev" in present else ""
    if owner != host:
        if not owner:
            raise CNIError(f"failed to add route {address}/{length} to {host}: {failure}")
        raise CNIError(
            f"route (Dst: {address}/{length}, Scope: link) already exists for an interface other than "
            f"'{host}': route (Iface: {owner}, Dst: {address}/{length})"
        )


def _link_local(host: str) -> str:
    for _ in range(_LINK_LOCAL_TRIES):
        found = re.search(
            r"inet6 (fe80:\S+)/", _output(["ip", "-6", "addr", "show", "dev", host, "scope", "link"])
        )
        if found:
            return found[1]
        time.sleep(_LINK_LOCAL_WAIT_S)
    raise CNIError("failed to get IPv6 addresses for host side of the veth pair")


def _mac_of(ifname: str) -> str:
    found = re.search(r"link/ether (\S+)", _output(["ip", "link", "show", "dev", ifname]))
    return found[1] if found else ""


def disconnect(netns: str, ifname: str) -> None:
    """Removes the pod's end, and with it the host's; a namespace or link that is gone is success."""
    if not netns or not os.path.exists(netns):  # noqa: PTH110
        return
    try:
        with inside(netns):
            failure = ip([f"link del {ifname}"], check=False)
    except OSError:
        return
    if failure and "Cannot find device" not in failure:
        raise CNIError(f"failed to delete {ifname} in {netns}: {failure}")


def ip(lines: Sequence[str], *, check: bool = True, force: bool = False, family: int = 0) -> str:
    """Runs ``lines`` as one batch in this thread's namespace; returns what went wrong. Raises CNIError if ``check``."""
    try:
        done = subprocess.run(
            ["ip", *([f"-{family}"] if family else []), *(["-force"] if force else []), "-batch", "-"],
            input="\n".join(lines) + "\n",
            capture_output=True,
            text=True,
            timeout=_DELETE_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise CNIError(f"timed out: ip {lines[0]}") from error
    except FileNotFoundError as error:
        raise CNIError("the command ip is missing: install iproute2") from error
    if done.returncode == 0 or force:
        return ""
    failure = next((line for line in done.stderr.splitlines() if line.strip()), "failed")
    if check:
        raise CNIError(f"{failure} (ip {'; '.join(lines)})")
    return failure


def _output(command: Sequence[str]) -> str:
    return subprocess.run(
        list(command), capture_output=True, text=True, check=False, timeout=_DELETE_S
    ).stdout
