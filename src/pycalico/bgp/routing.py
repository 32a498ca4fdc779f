"""The routing of one node: everything its BIRD configuration says, decided."""

from __future__ import annotations

from typing import TypeVar

import msgspec

from pycalico.api.v3.bgpconfiguration import BGPConfigurationSpec
from pycalico.bgp import services, values
from pycalico.bgp.hosts import Host, Hosts
from pycalico.bgp.inputs import Inputs, Settings
from pycalico.bgp.peers import Peering, Peerings, password_of, peerings_of, restart_time_s

T = TypeVar("T")
#: Of one kind of fault in one object; a list of a megabyte is no use to a reader.
_MOST_PROBLEMS = 50
#: A message of 4096 bytes has room for some three hundred large ones; tens of thousands would have BIRD stand still.
_MOST_COMMUNITIES = 250


class UnknownNode(Exception):
    """This node is not in the datastore (yet), or its name cannot be written to a file; one line."""


class Pool(msgspec.Struct, frozen=True):
    """``ipip_mode`` is Always, CrossSubnet or Never."""

    cidr: str
    exported: bool
    vxlan: bool
    ipip_mode: str


class Block(msgspec.Struct, frozen=True):
    """A block of this node; ``state`` is confirmed, pendingDeletion or "" (of before there were states)."""

    cidr: str
    state: str

    @property
    def single(self) -> bool:
        return self.cidr.endswith(("/32", "/128"))


class Neighbour(msgspec.Struct, frozen=True):
    """One host of the mesh: ``peering`` is None for ourselves, for reflectors and where the family is absent."""

    host: Host
    peering: Peering | None
    passive: bool = False


class FamilyRouting(msgspec.Struct):
    """One of the two BIRDs. ``address`` is "" when the node has none of the family: then nothing is peered.

    ``mesh`` is None where the mesh is off; ``debug`` is all, states or ""; ``bird`` as in Settings.
    """

    family: int
    node: str
    router_id: str
    address: str
    network: str
    as_number: int
    cluster_id: str
    listen_address: str
    listen_port: int | None
    debug: str
    ignored_interfaces: list[str]
    communities: list[tuple[str, list[tuple[int, ...]]]]
    mesh: list[Neighbour] | None
    peerings: Peerings
    blocks: list[Block]
    static_routes: list[str]
    rejected_cidrs: list[str]
    reflected_ranges: list[str]
    pools: list[Pool]
    bird: int = 1
    #: Protocols with other nodes that both sides would open, and this one had better leave to the other.
    yielding: frozenset[str] = frozenset()


class Routing(msgspec.Struct):
    """``problems`` are sentences for the log: what was left out and why. They hold no secret."""

    families: dict[int, FamilyRouting]
    problems: list[str]


def routing(inputs: Inputs, settings: Settings) -> Routing:
    """Raises UnknownNode."""
    if settings.node not in inputs.nodes:
        raise UnknownNode(f"node {settings.node} is not in the datastore")
    problems: list[str] = []
    hosts = Hosts(inputs, problems)
    peerings = peerings_of(settings.node, inputs, hosts, problems)
    service = services.service_routes(inputs, settings, problems)
    families = {
        family: _family(family, inputs, settings, hosts, peerings, service, problems) for family in (4, 6)
    }
    return Routing(families, list(dict.fromkeys(problems)))


def _family(
    family: int,
    inputs: Inputs,
    settings: Settings,
    hosts: Hosts,
    peerings: Peerings,
    service: services.ServiceRoutes,
    problems: list[str],
) -> FamilyRouting:
    own = hosts.by_name[settings.node]
    cluster, node = inputs.default, inputs.of_node(settings.node)
    address = own.addresses[family]
    bind_mode = node.bind_mode if node.bind_mode is not None else cluster.bind_mode
    reflected = [net for net in service.load_balancer if net.version == family] if own.cluster_id else []
    return FamilyRouting(
        family=family,
        node=settings.node,
        router_id=_router_id(own, settings, problems),
        address=address,
        network=own.networks[family],
        as_number=hosts.as_of(own),
        cluster_id=own.cluster_id,
        listen_address=address if bind_mode == "NodeIP" else "",
        listen_port=own.listen_port,
        debug=_debug(node.log_severity_screen or cluster.log_severity_screen or "info"),
        ignored_interfaces=_ignored(node.ignored_interfaces or cluster.ignored_interfaces, problems),
        communities=_communities(family, node if node.prefix_advertisements else cluster, problems),
        mesh=_mesh(family, own, inputs, hosts, problems),
        peerings=Peerings(
            [peering for peering in peerings.global_ if peering.family == family],
            [peering for peering in peerings.node if peering.family == family],
        ),
        blocks=_blocks(family, inputs, settings, own),
        static_routes=_ordered(service.announced, family),
        rejected_cidrs=_ordered(service.rejected, family),
        reflected_ranges=[str(net) for net in reflected],
        pools=_pools(family, inputs, problems),
        bird=settings.bird,
        yielding=frozenset(
            peering.name("Node")
            for peering in peerings.node
            if peering.family == family and peering.address in hosts.addresses and peering.address > address
        ),
    )


def _mesh(
    family: int, own: Host, inputs: Inputs, hosts: Hosts, problems: list[str]
) -> list[Neighbour] | None:
    spec = inputs.default
    if spec.node_to_node_mesh_enabled is False:
        return None
    address = own.addresses[family]
    restart_s = restart_time_s(
        "BGPConfiguration default: nodeMeshMaxRestartTime", spec.node_mesh_max_restart_time, problems
    )
    password = password_of("BGPConfiguration default", spec.node_mesh_password, inputs, problems)
    neighbours = []
    owners: dict[str, str] = {address: own.name}
    for host in hosts.by_name.values():
        theirs = host.addresses[family]
        peering = None
        if theirs and owners.setdefault(theirs, host.name) != host.name:
            # A second session of the same name would have BIRD refuse the whole configuration.
            problems.append(
                f"Node {host.name}: its address {theirs} is that of node {owners[theirs]}, too; it is not peered with"
            )
        elif theirs and theirs != address and not host.cluster_id:
            peering = Peering(
                address=theirs,
                as_number=hosts.as_of(host),
                port=host.listen_port,
                restart_s=restart_s,
                password=password,
            )
        # As text, not as numbers: the other end may be upstream's, and one of the two must connect.
        neighbours.append(Neighbour(host, peering, passive=theirs > address))
    return neighbours


def _router_id(own: Host, settings: Settings, problems: list[str]) -> str:
    if settings.router_id == "hash":
        return values.hashed_router_id(settings.node)
    if settings.router_id:
        chosen = values.router_id(settings.router_id)
        if chosen:
            return chosen
        problems.append(f"CALICO_ROUTER_ID {settings.router_id!r} is no IPv4 address; the node's own is used")
    if own.addresses[4]:
        return own.addresses[4]
    problems.append(f"Node {own.name} has no IPv4 address to be its router id; a hash of its name is used")
    return values.hashed_router_id(settings.node)


def _debug(severity: str) -> str:
    return {"debug": "all", "info": "states"}.get(severity.lower(), "")


def _ignored(patterns: list[str], problems: list[str]) -> list[str]:
    found = []
    for pattern in patterns:
        if values.interface_pattern(pattern):
            found.append(pattern)
        else:
            problems.append(
                f"BGPConfiguration: ignoredInterfaces: {pattern!r} is no interface pattern; left out"
            )
    return found


def _communities(
    family: int, spec: BGPConfigurationSpec, problems: list[str]
) -> list[tuple[str, list[tuple[int, ...]]]]:
    names = {community.name: community.value for community in reversed(spec.communities)}
    found = []
    for entry in spec.prefix_advertisements:
        network = values.network(entry.cidr)
        if network is None:
            problems.append(
                f"BGPConfiguration: prefixAdvertisements: {entry.cidr!r} is no CIDR; the entry is left out"
            )
            continue
        if network.version != family:
            continue
        numbers: dict[str, tuple[int, ...]] = {}
        for given in entry.communities:
            text = given if values.community(given) else names.get(given, given)
            value = values.community(text)
            if value is not None:
                numbers[text] = value
            elif len(problems) < _MOST_PROBLEMS:
                problems.append(f"BGPConfiguration: {text[:64]!r} is no community, and names none; left out")
        if len(numbers) > _MOST_COMMUNITIES:
            problems.append(
                f"BGPConfiguration: prefixAdvertisements: {entry.cidr} has {len(numbers)} communities; no UPDATE"
                f" holds so many, the first {_MOST_COMMUNITIES} are used"
            )
        found.append((str(network), [numbers[text] for text in sorted(numbers)[:_MOST_COMMUNITIES]]))
    return found


def _blocks(family: int, inputs: Inputs, settings: Settings, own: Host) -> list[Block]:
    found: dict[str, Block] = {}
    if settings.use_pod_cidr:
        for text in own.pod_cidrs:
            network = values.network(text)
            if network and network.version == family:
                found[str(network)] = Block(str(network), "confirmed")
        return _by_key(found)
    for affinity in inputs.affinities.values():
        network = values.network(affinity.cidr)
        # A pending affinity may lose the race for its block: nobody may hear of it.
        if affinity.node != settings.node or affinity.state == "pending" or affinity.deleted == "true":
            continue
        if network and network.version == family:
            state = affinity.state if affinity.state == "confirmed" else "pendingDeletion"
            found[str(network)] = Block(str(network), state if affinity.state else "")
    return _by_key(found)


def _pools(family: int, inputs: Inputs, problems: list[str]) -> list[Pool]:
    found: dict[str, Pool] = {}
    for name, spec in sorted(inputs.pools.items()):
        network = values.network(spec.cidr)
        if network is None:
            problems.append(f"IPPool {name}: {spec.cidr!r} is no CIDR; left out")
        elif network.version == family:
            mode = spec.ipip_mode or (spec.ipip.mode or "Always" if spec.ipip and spec.ipip.enabled else "")
            found[str(network)] = Pool(
                cidr=str(network),
                exported=not spec.disable_bgp_export,
                vxlan=spec.vxlan_mode.lower() in ("always", "crosssubnet"),
                ipip_mode={
                    "always": "Always",
                    "crosssubnet": "CrossSubnet",
                    "cross-subnet": "CrossSubnet",
                }.get(mode.lower(), "Never"),
            )
    return _by_key(found)


def _by_key(found: dict[str, T]) -> list[T]:
    """In upstream's order of keys, where the slash is a dash."""
    return [found[cidr] for cidr in sorted(found, key=_key)]


def _key(cidr: str) -> str:
    return cidr.replace("/", "-")


def _ordered(cidrs: set[str], family: int) -> list[str]:
    return sorted((cidr for cidr in cidrs if (":" in cidr) == (family == 6)), key=_key)
