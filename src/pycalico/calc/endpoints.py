"""Endpoints of this node and of others, and network sets, in the form that the calculation uses."""

from __future__ import annotations

import msgspec

from pycalico.api.rule import Protocol
from pycalico.api.v3.hostendpoint import HostEndpoint
from pycalico.api.v3.networkset import GlobalNetworkSet, NetworkSet
from pycalico.api.v3.workloadendpoint import WorkloadEndpoint
from pycalico.calc import addresses
from pycalico.calc.messages import NATPair, WorkloadEndpointID
from pycalico.calc.policyrules import NAMESPACE, NAMESPACE_PREFIX, SERVICE_ACCOUNT, SERVICE_ACCOUNT_PREFIX
from pycalico.calc.setmembers import Contributor

_NUMBERS = {6: "tcp", 17: "udp", 132: "sctp"}


class Endpoint(msgspec.Struct, frozen=True):
    """What policy sees of an endpoint or network set."""

    labels: dict[str, str]
    profiles: tuple[str, ...]
    contributor: Contributor


class Workload(msgspec.Struct, frozen=True):
    """A workload's own facts; ``nets`` of both families."""

    id: WorkloadEndpointID
    interface: str
    mac: str
    nets: tuple[str, ...]
    nats: tuple[tuple[bool, NATPair], ...]
    spoofed: tuple[str, ...]

    def of_family(self, *, ipv6: bool) -> tuple[str, ...]:
        return tuple(net for net in self.nets if addresses.is_ipv6(net) == ipv6)

    def nats_of(self, *, ipv6: bool) -> tuple[NATPair, ...]:
        return tuple(pair for is_v6, pair in self.nats if is_v6 == ipv6)


def from_workload(resource: WorkloadEndpoint, *, spoofing_allowed: bool) -> tuple[Endpoint, Workload] | None:
    """None for an endpoint without addresses. Raises ValueError for one that must not be programmed."""
    spec, meta = resource.spec, resource.metadata
    if not spec.ip_networks:
        return None
    if not spec.interface_name:
        raise ValueError("it has no interface name")
    if spec.allow_spoofed_source_prefixes and not spoofing_allowed:
        raise ValueError("it asks for source spoofing, which WorkloadSourceSpoofing does not allow")
    labels = {
        key: value
        for key, value in meta.labels.items()
        if not key.startswith((NAMESPACE_PREFIX, SERVICE_ACCOUNT_PREFIX))
    }
    # A pod's own labels must never speak for its namespace or account.
    labels[NAMESPACE] = meta.namespace
    if spec.service_account_name:
        labels[SERVICE_ACCOUNT] = spec.service_account_name
    nets = addresses.networks(spec.ip_networks)
    ports = tuple((port.name, protocol_name(port.protocol), port.port) for port in spec.ports if port.name)
    # Who is neither a pod nor has a name of its orchestrator is known by its container.
    workload = f"{meta.namespace}/{spec.pod or spec.workload or spec.container_id}"
    return (
        Endpoint(labels, tuple(spec.profiles), Contributor(nets, ports)),
        Workload(
            id=WorkloadEndpointID(spec.orchestrator, workload, spec.endpoint),
            interface=spec.interface_name,
            mac=spec.mac,
            nets=nets,
            nats=tuple(
                (
                    addresses.is_ipv6(nat.internal_ip),
                    NATPair(addresses.address(nat.external_ip), addresses.address(nat.internal_ip)),
                )
                for nat in spec.ip_nats
            ),
            spoofed=addresses.networks(spec.allow_spoofed_source_prefixes),
        ),
    )


def from_host(resource: HostEndpoint) -> Endpoint:
    spec = resource.spec
    nets = addresses.networks(spec.expected_ips)
    ports = tuple((port.name, protocol_name(port.protocol), port.port) for port in spec.ports)
    return Endpoint(dict(resource.metadata.labels), tuple(spec.profiles), Contributor(nets, ports))


def from_network_set(resource: NetworkSet | GlobalNetworkSet) -> Endpoint:
    labels = dict(resource.metadata.labels)
    profiles: tuple[str, ...] = ()
    if isinstance(resource, NetworkSet):
        labels[NAMESPACE] = resource.metadata.namespace
        profiles = (f"kns.{resource.metadata.namespace}",)
    nets = tuple(dict.fromkeys(addresses.networks(resource.spec.nets)))
    return Endpoint(labels, profiles, Contributor(nets))


def protocol_name(protocol: Protocol) -> str:
    if isinstance(protocol, int):
        return _NUMBERS.get(protocol, str(protocol))
    return protocol.lower()
