"""Whether packets as large as pods send them arrive at the other nodes: by which way, what it carries, what to set."""

from __future__ import annotations

import ipaddress
import subprocess
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import msgspec

from pycalico.api.v3.node import Node

MTU_FILE = Path("/var/lib/calico/mtu")
#: Beginnings of tunnel devices' names → the parameter of FelixConfiguration that sets their MTU, and what the tunnel adds
#: to a packet.
_TUNNELS = {
    "tunl": ("ipipMTU", 20), "vxlan-v6.": ("vxlanMTUV6", 70), "vxlan.": ("vxlanMTU", 50),
    "wg-v6.": ("wireguardMTUV6", 80), "wireguard.": ("wireguardMTU", 60),
}  # fmt: skip


class Way(msgspec.Struct, frozen=True):
    """To ``address`` of ``node`` by ``device``, which takes packets of ``takes`` bytes; ``carried`` of them arrive.

    ``carried`` is None when nothing comes back, and equals ``takes`` where the path is as good as the device.
    """

    node: str
    family: int
    address: str
    device: str
    takes: int
    carried: int | None

    @property
    def tunnel(self) -> tuple[str, int]:
        """(parameter, bytes added); ("", 0) when the device is no tunnel."""
        return next((found for start, found in _TUNNELS.items() if self.device.startswith(start)), ("", 0))


class _Route(msgspec.Struct):
    dev: str = ""


def pods_mtu(path: Path = MTU_FILE) -> int | None:
    """What Felix tells the CNI plugin; None where it has not yet."""
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None


def ends(nodes: Iterable[Node], own: str) -> Iterator[tuple[str, int, str]]:
    """(node, family, address) of the other nodes: their own addresses, then those of their tunnels."""
    for node in sorted(nodes, key=lambda node: node.metadata.name or ""):
        name = node.metadata.name or ""
        if name == own:
            continue
        bgp, wireguard = node.spec.bgp, node.spec.wireguard
        found = [
            *((bgp.ipv4_address, bgp.ipv6_address) if bgp else ()),
            bgp.ipv4_ipip_tunnel_addr if bgp else "",
            node.spec.ipv4_vxlan_tunnel_addr,
            node.spec.ipv6_vxlan_tunnel_addr,
            *((wireguard.interface_ipv4_address, wireguard.interface_ipv6_address) if wireguard else ()),
        ]
        for text in found:
            try:
                address = ipaddress.ip_interface(text or "").ip
            except ValueError:
                continue
            yield name, address.version, str(address)


def device_towards(address: str) -> tuple[str, int] | None:
    """(device, its MTU); None when there is no route."""
    try:
        run = subprocess.run(
            ["ip", "-json", "route", "get", address], capture_output=True, timeout=10, check=True
        )
        [route] = msgspec.json.decode(run.stdout, type=list[_Route])
        return route.dev, int(Path("/sys/class/net", route.dev, "mtu").read_text())
    except (OSError, subprocess.SubprocessError, msgspec.DecodeError, ValueError):
        return None


def way(
    end: tuple[str, int, str],
    towards: Callable[[str], tuple[str, int] | None],
    probe: Callable[[str, int, int], int | None],
) -> Way:
    """``towards`` as `device_towards`, ``probe`` as `pathprobe.largest`, whose exceptions pass."""
    node, family, address = end
    device, takes = towards(address) or ("", 0)
    return Way(node, family, address, device, takes, probe(address, family, takes) if device else None)


def advice(ways: Sequence[Way], pods: int | None) -> list[str]:
    """What is wrong and what to do, a line each; empty when pods' packets arrive."""
    found = []
    for one in ways:
        parameter, added = one.tunnel
        where = f"{one.node} ({one.address})"
        if not one.device:
            found.append(f"{where}: this node has no route there")
        elif one.carried is None:
            found.append(
                f"{where}: nothing comes back by {one.device}: is ICMP echo let through, is the node up?"
            )
        elif one.carried < one.takes and parameter:
            # A single link may let a little more through than it promises: the path between the nodes itself counts.
            below = [
                other.carried - added
                for other in ways
                if (other.node, other.family, other.tunnel[0]) == (one.node, one.family, "") and other.carried
            ]
            found.append(
                f"{where}: {one.device} takes {one.takes} bytes, {one.carried} arrive: set {parameter}:"
                f" {min([one.carried, *below])} in FelixConfiguration"
            )
        elif one.carried < one.takes:
            found.append(
                f"{where}: {one.device} takes {one.takes} bytes, {one.carried} arrive: correct the interface's MTU, or the"
                " network between"
            )
        elif pods is not None and parameter and pods > one.carried:
            found.append(
                f"{where}: pods send up to {pods} bytes, {one.device} takes {one.takes}: restart those pods"
            )
    return found


def as_text(ways: Sequence[Way], pods: int | None) -> str:
    lines = [f"pods: {pods} bytes ({MTU_FILE})" if pods else f"pods: not known yet, {MTU_FILE} is not there"]
    for one in ways:
        carried = "no answer" if one.carried is None else f"{one.carried} of {one.takes} bytes"
        lines.append(f"{one.node} {one.address} by {one.device or 'no route'}: {carried}")
    return "\n".join([*lines, *(f"! {line}" for line in advice(ways, pods))]) + "\n"
