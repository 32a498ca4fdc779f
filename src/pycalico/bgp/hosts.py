"""The nodes, as BGP sees them."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from pycalico.bgp import values
from pycalico.bgp.inputs import Inputs

DEFAULT_AS = 64512


class Host(msgspec.Struct, frozen=True):
    """One node. An address is "" where the family is absent; ``as_number`` None means the cluster's.

    ``listen_port`` is the node's own, else the cluster's, else None.
    """

    name: str
    addresses: dict[int, str]
    networks: dict[int, str]
    as_number: int | None
    cluster_id: str
    labels: Mapping[str, str]
    listen_port: int | None
    pod_cidrs: tuple[str, ...] = ()


class Hosts:
    """All nodes by name, the cluster's AS number, and who has which address."""

    def __init__(self, inputs: Inputs, problems: list[str]) -> None:
        self.global_as = values.as_number(inputs.default.as_number) or DEFAULT_AS
        self.global_port = values.port(inputs.default.listen_port)
        self.by_name = {name: self._host(inputs, name, problems) for name in sorted(inputs.nodes)}
        self.addresses = {
            address for host in self.by_name.values() for address in host.addresses.values() if address
        }

    def as_of(self, host: Host) -> int:
        return host.as_number or self.global_as

    def with_address(self, address: str, as_number: int | None, port: int | None) -> list[Host]:
        """Nodes that have the address and AS number (None: the cluster's), and listen on ``port`` where given."""
        wanted = as_number or self.global_as
        return [
            host
            for host in self.by_name.values()
            if address in host.addresses.values()
            and self.as_of(host) == wanted
            and (port is None or host.listen_port in (None, port))
        ]

    def _host(self, inputs: Inputs, name: str, problems: list[str]) -> Host:
        node = inputs.nodes[name]
        bgp = node.spec.bgp
        addresses = {4: "", 6: ""}
        networks = {4: "", 6: ""}
        if bgp:
            for family, text in ((4, bgp.ipv4_address), (6, bgp.ipv6_address)):
                if not text:
                    continue
                found = values.interface_address(text)
                if not found or found[0].version != family or not values.neighbour(found[0]):
                    problems.append(
                        f"Node {name}: {text!r} is no IPv{family} address; the node has none then"
                    )
                    continue
                addresses[family], networks[family] = str(found[0]), str(found[1])
        as_number = values.as_number(bgp.as_number) if bgp else None
        if bgp and bgp.as_number is not None and as_number is None:
            problems.append(f"Node {name}: {bgp.as_number!r} is no AS number; the cluster's is used")
        cluster_id = bgp.route_reflector_cluster_id if bgp else ""
        if cluster_id and not values.router_id(cluster_id):
            problems.append(
                f"Node {name}: routeReflectorClusterID {cluster_id!r} is no IPv4 address; ignored"
            )
            cluster_id = ""
        return Host(
            name=name,
            addresses=addresses,
            networks=networks,
            as_number=as_number,
            cluster_id=cluster_id,
            labels=node.metadata.labels,
            listen_port=values.port(inputs.of_node(name).listen_port) or self.global_port,
            pod_cidrs=tuple(node.status.pod_cidrs),
        )
