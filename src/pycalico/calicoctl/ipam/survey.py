"""What is allocated and what is in use, side by side. ``check`` prints it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import msgspec

from pycalico.api.meta import R
from pycalico.api.v3.ipam import IPAMBlock
from pycalico.api.v3.node import Node
from pycalico.api.v3.workloadendpoint import WorkloadEndpoint
from pycalico.calicoctl.ipam import address
from pycalico.calicoctl.ipam.address import Range
from pycalico.calicoctl.ipam.report import Allocation
from pycalico.datastore.client import Client
from pycalico.ipam import block as blocks
from pycalico.ipam.block import Holder

_WINDOWS = "Reserved for Windows"


class Survey(msgspec.Struct):
    """``note`` is told of each address as it is found, for ``--show-all-ips``; None: nobody is to know."""

    note: Callable[[str], None] | None
    allocations: dict[str, list[Allocation]] = {}
    #: By address; `described` makes a text of one.
    holders: dict[str, Holder] = {}
    by_node: dict[str, int] = {}
    #: By address: who uses it.
    users: dict[str, list[str]] = {}
    #: By address: the CIDR of its block.
    blocks: dict[str, str] = {}
    #: Tunnel addresses of both families to their nodes. Upstream's check knows some only; a repair has to know all.
    tunnels: dict[str, str] = {}
    #: Handles that blocks mention, in the order found.
    handles: dict[str, None] = {}

    def add_block(self, found: IPAMBlock) -> int:
        """How many addresses of it are allocated."""
        family, first = address.number(found.spec.cidr.partition("/")[0])
        owner = blocks.owner(found.spec) or ""
        count = 0
        for ordinal, holder in blocks.allocated(found.spec):
            count += 1
            ip = address.text(family, first + ordinal)
            self.blocks[ip] = found.spec.cidr
            self._add(ip, holder, owner)
        return count

    def _add(self, ip: str, holder: Holder, owner: str) -> None:
        attributes = holder.attributes
        node = attributes.get("node") or owner
        found = Allocation(
            ip=ip,
            sequence_number=holder.sequence_number or 0,
            pod=attributes.get("pod", ""),
            namespace=attributes.get("namespace", ""),
            node=node,
            type=attributes.get("type", ""),
            creation_timestamp=attributes.get("timestamp", ""),
            borrowed=node != owner,
        )
        self.holders[ip] = holder
        self.allocations.setdefault(ip, []).append(found)
        self.by_node[node] = self.by_node.get(node, 0) + 1
        if self.note:
            self.note(f"  {ip} allocated; attrs {described(holder)}")
        if holder.handle == blocks.WINDOWS_HANDLE:
            self.add_use(ip, _WINDOWS)
        elif holder.handle is not None:
            found.handle = holder.handle
            self.handles[holder.handle] = None

    def add_use(self, ip: str, user: str) -> None:
        if self.note:
            self.note(f"  {ip} belongs to {user}")
        self.users.setdefault(ip, []).append(user)
        for each in self.allocations.get(ip, ()):
            each.in_use = True
            each.owners = [*(each.owners or ()), user]


def described(holder: Holder) -> str:
    """Handle and attributes."""
    attributes = ",".join(f"{key}={value}" for key, value in sorted(holder.attributes.items()))
    return f"Main:{'<none>' if holder.handle is None else holder.handle} Extra:{attributes}"


def each(client: Client, kind: type[R]) -> Iterator[R]:
    """All objects of the kind, a page at a time where the datastore can do that."""
    driver: Any = getattr(client, "driver", client)
    stream = getattr(driver, "each", None)
    return stream(kind) if stream is not None else iter(client.list(kind).items)


def node_addresses(node: Node) -> Iterator[str]:
    """Its tunnels' addresses. Raises ValueError for one that is none."""
    spec = node.spec
    for name, text in (
        ("IPv4VXLANTunnelAddr", spec.ipv4_vxlan_tunnel_addr),
        ("Wireguard.InterfaceIPv4Address", spec.wireguard.interface_ipv4_address if spec.wireguard else ""),
        ("IPv4IPIPTunnelAddr", spec.bgp.ipv4_ipip_tunnel_addr if spec.bgp else ""),
    ):
        if text:
            yield _normal(text, f"{name} ({text}) of node {node.metadata.name}")


def tunnel_addresses(node: Node) -> Iterator[str]:
    """Of every kind and family; what is none is left out."""
    spec = node.spec
    texts = [spec.ipv4_vxlan_tunnel_addr, spec.ipv6_vxlan_tunnel_addr]
    if spec.bgp:
        texts.append(spec.bgp.ipv4_ipip_tunnel_addr)
    if spec.wireguard:
        texts += [spec.wireguard.interface_ipv4_address, spec.wireguard.interface_ipv6_address]
    for text in texts:
        try:
            if text:
                yield _normal(text, text)
        except ValueError:
            continue


def endpoint_addresses(endpoint: WorkloadEndpoint) -> Iterator[str]:
    """Raises ValueError."""
    for text in endpoint.spec.ip_networks:
        meta = endpoint.metadata
        yield _normal(text, f"IP ({text}) of workload {meta.namespace}/{meta.name}")


def _normal(text: str, what: str) -> str:
    plain = text.partition("/")[0]
    try:
        family, number = address.number(plain)
        # What the C library takes for an IPv4 address has one form only.
        return plain if family == 4 else address.text(family, number)
    except ValueError as error:
        raise ValueError(f"failed to parse {what}: {error}") from error


def in_any(ip: str, ranges: Iterable[Range]) -> bool:
    family, number = address.number(ip)
    return any(each.holds(family, number) for each in ranges)
