"""From BGPPeers to peerings.

A BGPPeer without node and nodeSelector makes a global peering, which every node has; others make peerings of
the nodes they select. In the end the missing halves are added: a node that a BGPPeer names as remote gets
peerings towards the nodes it names as local. The first to name an address and port wins; resources go by name
order, so that the winner is the same on every node and at every time.
"""

from __future__ import annotations

import ipaddress

import msgspec

from pycalico.api import selector
from pycalico.api.v3.bgppeer import BGPPassword, BGPPeerSpec
from pycalico.bgp import values
from pycalico.bgp.hosts import Host, Hosts
from pycalico.bgp.inputs import Inputs

_MOST_HOPS = 255
_MOST_LOCAL_AS = 2**31 - 1
#: The protocol has twelve bits for it.
_MOST_RESTART_S = 4095


class Peering(msgspec.Struct, frozen=True, kw_only=True):
    """One session of this node with one neighbour, before the node's own side is known."""

    address: str
    as_number: int
    port: int | None = None
    use_node_ip: bool = True
    restart_s: int | None = None
    password: str = ""
    keep_next_hop: bool = False
    allow_local_as: int = 0
    ttl_hops: int = 0
    reachable_by: str = ""
    filters: tuple[str, ...] = ()
    cluster_id: str = ""
    calico_node: bool = False

    def name(self, kind: str) -> str:
        """BIRD's protocol; ``kind`` is Mesh, Global or Node."""
        port = f"_port_{self.port}" if self.port and kind != "Mesh" else ""
        return f"{kind}_{self.address.replace('.', '_').replace(':', '_')}{port}"

    @property
    def family(self) -> int:
        return 6 if ":" in self.address else 4

    @property
    def key(self) -> str:
        """Upstream's key in its peer directories; the order of keys is the order of blocks."""
        return f"{self.address}-{self.port}" if self.port else self.address


class Peerings(msgspec.Struct):
    """Of one node, each list in order of keys."""

    global_: list[Peering]
    node: list[Peering]


def peerings_of(node: str, inputs: Inputs, hosts: Hosts, problems: list[str]) -> Peerings:
    global_: dict[str, Peering] = {}
    own: dict[str, Peering] = {}
    ordered = sorted(inputs.peers.items())
    for name, spec in ordered:
        if not spec.node and not spec.node_selector:
            for peering in _forward(name, spec, inputs, hosts, problems):
                global_.setdefault(peering.key, peering)
    for name, spec in ordered:
        if (spec.node or spec.node_selector) and _is_local(node, name, spec, hosts, problems):
            for peering in _forward(name, spec, inputs, hosts, problems):
                if peering.key not in global_:
                    own.setdefault(peering.key, peering)
    for name, spec in ordered:
        for peering in _reverse(node, name, spec, inputs, hosts):
            if peering.key not in global_:
                own.setdefault(peering.key, peering)
    return Peerings([global_[key] for key in sorted(global_)], [own[key] for key in sorted(own)])


def _is_local(node: str, name: str, spec: BGPPeerSpec, hosts: Hosts, problems: list[str]) -> bool:
    if spec.node_selector:
        return any(host.name == node for host in _matching(name, spec.node_selector, hosts, problems))
    return spec.node == node


def _forward(
    name: str, spec: BGPPeerSpec, inputs: Inputs, hosts: Hosts, problems: list[str]
) -> list[Peering]:
    if spec.peer_selector:
        remotes = _matching(name, spec.peer_selector, hosts, problems)
        return _to_hosts(name, remotes, (4, 6), spec, inputs, hosts, problems)
    host, port = split_port(spec.peer_ip)
    address = values.address(host)
    if address is None or not values.neighbour(address):
        problems.append(f"BGPPeer {name}: peerIP {spec.peer_ip!r} is no node's address; the peer is left out")
        return []
    # Nodes that the peering is with count 0 as the cluster's number (below): so must the other half.
    as_number = values.as_number(spec.as_number) if spec.as_number else hosts.global_as
    if as_number is None:
        problems.append(f"BGPPeer {name}: {spec.as_number!r} is no AS number; the peer is left out")
        return []
    reachable_by = ""
    if spec.reachable_by:
        gateway = values.address(spec.reachable_by)
        if gateway is None or gateway.version != address.version:
            problems.append(
                f"BGPPeer {name}: reachableBy {spec.reachable_by!r} is no address of peerIP's family; the peer is left out"
            )
            return []
        reachable_by = str(gateway)
    if port is None:
        nodes = hosts.with_address(str(address), as_number, None)
        port = nodes[0].listen_port if nodes else None
    common = _common(name, spec, inputs, problems)
    return [
        msgspec.structs.replace(
            common,
            address=str(address),
            as_number=as_number,
            port=port,
            keep_next_hop=spec.keep_original_next_hop,
            allow_local_as=min(spec.num_allowed_local_as_numbers or 0, _MOST_LOCAL_AS),
            reachable_by=reachable_by,
            calico_node=str(address) in hosts.addresses,
        )
    ]


def _reverse(node: str, name: str, spec: BGPPeerSpec, inputs: Inputs, hosts: Hosts) -> list[Peering]:
    """What ``node`` lacks so that both ends know of the peering. Faults were reported on the way forward."""
    silent: list[str] = []
    families: tuple[int, ...] = (4, 6)
    if spec.peer_selector:
        locals_ = _matching(name, spec.peer_selector, hosts, silent)
    else:
        text, port = split_port(spec.peer_ip)
        address = values.address(text)
        if address is None:
            return []
        locals_ = hosts.with_address(str(address), values.as_number(spec.as_number), port)
        families = (address.version,)
    if not any(host.name == node for host in locals_):
        return []
    if spec.node_selector:
        remotes = _matching(name, spec.node_selector, hosts, silent)
    elif spec.node:
        remotes = [hosts.by_name[spec.node]] if spec.node in hosts.by_name else []
    else:
        remotes = list(hosts.by_name.values())
    return _to_hosts(name, remotes, families, spec, inputs, hosts, silent)


def _to_hosts(
    name: str,
    remotes: list[Host],
    families: tuple[int, ...],
    spec: BGPPeerSpec,
    inputs: Inputs,
    hosts: Hosts,
    problems: list[str],
) -> list[Peering]:
    """Towards nodes: keepOriginalNextHop, numAllowedLocalASNumbers and passivity do not apply (as upstream)."""
    if not remotes:
        return []
    common = _common(name, spec, inputs, problems)
    found = []
    for host in remotes:
        for family in families:
            address = host.addresses[family]
            if not address:
                continue
            gateway = values.address(spec.reachable_by) if spec.reachable_by else None
            found.append(
                msgspec.structs.replace(
                    common,
                    address=address,
                    as_number=hosts.as_of(host),
                    port=host.listen_port,
                    cluster_id=host.cluster_id,
                    reachable_by=str(gateway) if gateway and gateway.version == family else "",
                )
            )
    return found


def _common(name: str, spec: BGPPeerSpec, inputs: Inputs, problems: list[str]) -> Peering:
    """What a BGPPeer says about all its peerings; address and AS number are still to be filled in."""
    hops = spec.ttl_security or 0
    if not 0 <= hops <= _MOST_HOPS:
        problems.append(f"BGPPeer {name}: ttlSecurity {hops} is not from 1 to {_MOST_HOPS}; 1 is used")
        hops = 1
    return Peering(
        address="",
        as_number=0,
        use_node_ip=spec.source_address != "None",
        restart_s=restart_time_s(f"BGPPeer {name}: maxRestartTime", spec.max_restart_time, problems),
        password=password_of(f"BGPPeer {name}", spec.password, inputs, problems),
        ttl_hops=hops,
        filters=tuple(spec.filters),
    )


def restart_time_s(what: str, text: str | None, problems: list[str]) -> int | None:
    """Whole seconds, rounded."""
    if text is None:
        return None
    seconds = values.duration_s(text)
    if seconds is None:
        problems.append(f"{what} {text!r} is no duration; the default is used")
        return None
    if seconds > _MOST_RESTART_S:
        problems.append(f"{what} {text!r} is more than BGP can say; {_MOST_RESTART_S} s are used")
    return min(int(seconds + 0.5), _MOST_RESTART_S)


def password_of(what: str, password: BGPPassword | None, inputs: Inputs, problems: list[str]) -> str:
    """The text behind a reference, or "" with a problem that never shows it."""
    reference = password.secret_key_ref if password else None
    if not reference:
        return ""
    secret = inputs.secrets.get(reference.name)
    if secret is None or reference.key not in secret:
        missing = "key" if secret is not None else "secret"
        problems.append(
            f"{what}: no {missing} for password {reference.name}:{reference.key}; the session has none"
        )
        return ""
    text = values.password(secret[reference.key])
    if text is None:
        problems.append(
            f"{what}: the password in {reference.name}:{reference.key} holds quotes, backslashes or control characters,"
            " or is empty or longer than 80 bytes; the session has none"
        )
        return ""
    return text


def split_port(text: str) -> tuple[str, int | None]:
    """``10.0.0.1:179``, ``[fd00::1]:179``, or an address alone."""
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        if bracket and rest.startswith(":") and rest[1:].isascii() and rest[1:].isdigit():
            return host, values.port(int(rest[1:]))
        return text, None
    host, colon, rest = text.partition(":")
    if (
        colon
        and rest.isascii()
        and rest.isdigit()
        and isinstance(values.address(host), ipaddress.IPv4Address)
    ):
        return host, values.port(int(rest))
    return text, None


def _matching(name: str, text: str, hosts: Hosts, problems: list[str]) -> list[Host]:
    try:
        wanted = selector.parse(text)
    except selector.SelectorError as error:
        problems.append(f"BGPPeer {name}: selector {text!r}: {error}; it selects nothing")
        return []
    return [host for host in hosts.by_name.values() if wanted.matches(host.labels)]
