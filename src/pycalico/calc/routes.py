"""Where every CIDR of the cluster lives: pools, blocks, borrowed addresses, nodes, tunnels and local endpoints.

For one CIDR the most telling fact wins: an endpoint or tunnel that has the address, then a node that has it,
then the block. A change re-derives only the CIDRs that it can touch.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from functools import lru_cache

from pycalico.api.v3.ipam import IPAMBlock
from pycalico.calc import addresses, messages
from pycalico.calc.messages import PoolType, RouteType
from pycalico.calc.network import NodeFacts, PoolFacts
from pycalico.calc.sequencer import Sequencer

_HOST_PREFIX = "host:"
Net = ipaddress.IPv4Network | ipaddress.IPv6Network


class Routes:
    """Owns the ``route`` messages."""

    def __init__(self, sequencer: Sequencer, hostname: str, *, use_pod_cidrs: bool) -> None:
        self._sequencer = sequencer
        self._hostname = hostname
        self._use_pod_cidrs = use_pod_cidrs
        self._pools: dict[Net, PoolFacts] = {}
        self._nodes: dict[str, NodeFacts] = {}
        self._blocks: dict[str, dict[str, str]] = {}
        self._block_of: dict[str, dict[str, str]] = {}
        self._on_node: dict[str, dict[str, None]] = {}
        self._node_of: dict[str, dict[str, None]] = {}
        self._tunnel_of: dict[str, dict[tuple[str, str], None]] = {}
        self._workloads: dict[str, dict[str, int]] = {}
        self._workloads_on: dict[str, dict[str, None]] = {}
        self._dirty: dict[str, None] = {}

    # ---- facts

    def put_pools(self, pools: dict[str, PoolFacts]) -> None:
        now = {ipaddress.ip_network(cidr): facts for cidr, facts in pools.items()}
        changed = [net for net in self._pools.keys() | now.keys() if self._pools.get(net) != now.get(net)]
        self._pools = now
        for net in changed:
            self._touch(str(net))
            self._touch_all(cidr for cidr in self._known() if _within(cidr, net))

    def put_block(self, key: str, block: IPAMBlock) -> None:
        """A block, and every address in it that another node holds."""
        spec = block.spec
        cidr = addresses.network(spec.cidr)
        owner = spec.affinity.removeprefix(_HOST_PREFIX) if spec.affinity else ""
        found = {cidr: owner} if owner else {}
        first = ipaddress.ip_network(cidr).network_address
        for ordinal, index in enumerate(spec.allocations):
            if index is None or index >= len(spec.attributes):
                continue
            holder = spec.attributes[index].secondary.get("node", "")
            if holder and holder != owner:
                found[f"{first + ordinal}/{first.max_prefixlen}"] = holder
        self._replace_block(key, found)

    def remove_block(self, key: str) -> None:
        self._replace_block(key, {})

    def _replace_block(self, key: str, found: dict[str, str]) -> None:
        before = self._blocks.pop(key, {})
        if found:
            self._blocks[key] = found
        for cidr, node in before.items():
            if found.get(cidr) != node:
                self._block_of.get(cidr, {}).pop(key, None)
                self._on_node.get(node, {}).pop(cidr, None)
                self._touch(cidr)
        for cidr, node in found.items():
            if before.get(cidr) != node:
                self._block_of.setdefault(cidr, {})[key] = node
                self._on_node.setdefault(node, {})[cidr] = None
                self._touch(cidr)

    def put_node(self, facts: NodeFacts) -> None:
        before = self._nodes.get(facts.name)
        if before == facts:
            return
        self._forget_node(before)
        self._nodes[facts.name] = facts
        for cidr in _own(facts):
            self._node_of.setdefault(cidr, {})[facts.name] = None
            self._touch(cidr)
        for kind, cidr in _tunnels(facts):
            self._tunnel_of.setdefault(cidr, {})[(facts.name, kind)] = None
            self._touch(cidr)
        if self._use_pod_cidrs:
            self._replace_block(f"node/{facts.name}", dict.fromkeys(facts.pod_cidrs, facts.name))
        self._node_moved(facts.name)

    def remove_node(self, name: str) -> None:
        self._forget_node(self._nodes.pop(name, None))
        if self._use_pod_cidrs:
            self._replace_block(f"node/{name}", {})
        self._node_moved(name)

    def _forget_node(self, facts: NodeFacts | None) -> None:
        if facts is None:
            return
        for cidr in _own(facts):
            self._node_of[cidr].pop(facts.name, None)
            self._touch(cidr)
        for kind, cidr in _tunnels(facts):
            self._tunnel_of[cidr].pop((facts.name, kind), None)
            self._touch(cidr)

    def _node_moved(self, name: str) -> None:
        # Our own subnet decides for every other node whether it is in it.
        if name == self._hostname:
            self._touch_all(self._known())
        else:
            self._touch_all(self._on_node.get(name, ()))
            self._touch_all(self._workloads_on.get(name, ()))

    def add_workload(self, node: str, nets: Iterable[str]) -> None:
        """Several endpoints may have one address, on several nodes even, while one takes over from another."""
        for net in nets:
            counts = self._workloads.setdefault(net, {})
            counts[node] = counts.get(node, 0) + 1
            self._workloads_on.setdefault(node, {})[net] = None
            self._touch(net)

    def remove_workload(self, node: str, nets: Iterable[str]) -> None:
        for net in nets:
            counts = self._workloads[net]
            counts[node] -= 1
            if not counts[node]:
                del counts[node]
                del self._workloads_on[node][net]
            if not counts:
                del self._workloads[net]
            self._touch(net)

    # ---- derivation

    def resolve(self) -> None:
        for cidr in self._dirty:
            route = self._derive(cidr)
            if route is None:
                self._sequencer.remove("route", cidr, messages.RouteRemove(cidr))
            else:
                self._sequencer.put("route", cidr, route)
        self._dirty.clear()

    def _derive(self, cidr: str) -> messages.RouteUpdate | None:
        pool = self._pool_of(cidr)
        kind, node, tunnels = self._facts(cidr)
        pool_type = pool.type if pool else PoolType.NONE
        nat_outgoing = pool.nat_outgoing if pool else False
        if not node:
            if pool is not None and pool.cidr == cidr:
                return messages.RouteUpdate(cidr, RouteType.CIDR_INFO, pool_type, nat_outgoing=nat_outgoing)
            return None
        facts = self._nodes.get(node)
        address = facts.address(ipv6=addresses.is_ipv6(cidr)) if facts else ""
        local = node == self._hostname
        types = {
            "workload": (RouteType.REMOTE_WORKLOAD, RouteType.LOCAL_WORKLOAD),
            "block": (RouteType.REMOTE_WORKLOAD, RouteType.LOCAL_WORKLOAD),
            "host": (RouteType.REMOTE_HOST, RouteType.LOCAL_HOST),
            "tunnel": (RouteType.REMOTE_TUNNEL, RouteType.LOCAL_TUNNEL),
        }
        return messages.RouteUpdate(
            cidr,
            types[kind][local],
            pool_type,
            dst_node_name=node,
            dst_node_ip=address,
            same_subnet=bool(pool and pool.cross_subnet and facts and address and self._is_near(facts)),
            nat_outgoing=nat_outgoing,
            local_workload=local and kind == "workload",
            tunnel_types=tunnels,
        )

    def _facts(self, cidr: str) -> tuple[str, str, frozenset[str]]:
        """Kind, node, kinds of tunnel."""
        holders = self._workloads.get(cidr)
        if holders:
            node = self._hostname if self._hostname in holders else min(holders)
            return "workload", node, frozenset()
        held = self._block_of.get(cidr)
        tunnels = self._tunnel_of.get(cidr)
        if tunnels:
            node = min(name for name, _ in tunnels)
            kinds = frozenset(kind for name, kind in tunnels if name == node)
            return "tunnel", node, kinds
        nodes = self._node_of.get(cidr)
        if nodes:
            return "host", min(nodes), frozenset()
        if held:
            return "block", held[min(held)], frozenset()
        return "", "", frozenset()

    def _pool_of(self, cidr: str) -> PoolFacts | None:
        best: Net | None = None
        for net in self._pools:
            if _within(cidr, net) and (best is None or net.prefixlen > best.prefixlen):
                best = net
        return self._pools[best] if best is not None else None

    def _is_near(self, other: NodeFacts) -> bool:
        """Whether it is in our subnet, of either family: who shares one is next to us for both (observed)."""
        own = self._nodes.get(self._hostname)
        pairs = ((own.subnet4, other.ipv4), (own.subnet6, other.ipv6)) if own else ()
        return any(
            subnet and address and _within(address, ipaddress.ip_network(subnet)) for subnet, address in pairs
        )

    def _known(self) -> set[str]:
        return {*self._block_of, *self._node_of, *self._tunnel_of, *self._workloads}

    def _touch(self, cidr: str) -> None:
        self._dirty[cidr] = None

    def _touch_all(self, cidrs: Iterable[str]) -> None:
        self._dirty.update(dict.fromkeys(cidrs))


def _own(facts: NodeFacts) -> list[str]:
    return [addresses.network(text) for text in (facts.ipv4, facts.ipv6) if text]


def _tunnels(facts: NodeFacts) -> list[tuple[str, str]]:
    found = (
        ("ipip", facts.ipip),
        ("vxlan", facts.vxlan4),
        ("vxlan", facts.vxlan6),
        ("wireguard", facts.wireguard4),
        ("wireguard", facts.wireguard6),
    )
    return [(kind, addresses.network(text)) for kind, text in found if text]


@lru_cache(maxsize=65536)
def _network(cidr: str) -> Net:
    return ipaddress.ip_network(cidr)


def _within(cidr: str, net: Net) -> bool:
    inner = _network(cidr)
    return inner.version == net.version and inner.subnet_of(net)  # type: ignore[arg-type]
