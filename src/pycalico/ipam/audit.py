"""IPAM's records against what runs: what a restored backup, or a lost write, left between them.

Three kinds of disagreement, found by `compare` (pure) and settled by `repair`. What runs is never touched: an endpoint's
address stays, and the records follow. Only addresses of workloads count; tunnels and reservations have other owners.
"""

from __future__ import annotations

import ipaddress
from collections import Counter
from collections.abc import Iterable

import msgspec

from pycalico.api.v3.ipam import IPAMBlock
from pycalico.api.v3.ippool import IPPool
from pycalico.api.v3.workloadendpoint import WorkloadEndpoint
from pycalico.datastore.client import Client
from pycalico.datastore.errors import DatastoreError
from pycalico.ipam import block as blocks
from pycalico.ipam.allocator import Allocator
from pycalico.ipam.block import Holder, Release

#: What upstream's plugin calls its network unless it is told otherwise; handles begin with it.
_NETWORK = "k8s-pod-network"


class Use(msgspec.Struct, frozen=True):
    """An address that an endpoint has."""

    address: str
    namespace: str
    pod: str
    node: str
    container: str
    uid: str = ""


class Leak(Release):
    """An address, and the node that it was assigned on."""

    node: str = ""


class Findings(msgspec.Struct):
    """``leaked``: recorded, and nobody has it. ``missing``: in use, not recorded. ``mistaken``: recorded for another."""

    leaked: list[Leak] = []
    missing: list[Use] = []
    mistaken: list[tuple[Release, Use]] = []

    def __len__(self) -> int:
        return len(self.leaked) + len(self.missing) + len(self.mistaken)


def compare(
    found: Iterable[IPAMBlock], endpoints: Iterable[WorkloadEndpoint], pools: Iterable[IPPool]
) -> Findings:
    """The disagreements, by address."""
    uses = {use.address: use for endpoint in endpoints for use in _uses(endpoint)}
    networks = [ipaddress.ip_network(pool.spec.cidr) for pool in pools if not pool.spec.disabled]
    findings = Findings()
    recorded: set[str] = set()
    for one in found:
        base, version = blocks.base_of(one.spec)
        for ordinal, holder in blocks.allocated(one.spec):
            address = blocks.text(base + ordinal, version)
            recorded.add(address)
            use = uses.get(address)
            release = Release(address, holder.handle, holder.sequence_number)
            if use is not None and not _is_of(holder, use):
                findings.mistaken.append((release, use))
            elif use is None and "pod" in holder.attributes:
                node = holder.attributes.get("node", "")
                findings.leaked.append(Leak(address, holder.handle, holder.sequence_number, node))
    for address, use in sorted(uses.items()):
        if address not in recorded and any(
            ipaddress.ip_address(address) in network
            for network in networks
            if network.version == (6 if ":" in address else 4)
        ):
            findings.missing.append(use)
    return findings


def survey(client: Client) -> Findings:
    """Reads all that `compare` needs. Records come first: an address taken meanwhile shows as missing, not as leaked."""
    found = client.list(IPAMBlock).items
    return compare(found, client.list(WorkloadEndpoint).items, client.list(IPPool).items)


def repair(client: Client, findings: Findings) -> list[str]:
    """Makes the records follow what runs; returns what could not be settled, a line each.

    Every release holds only while handle and sequence number are those that were found. The datastore has to be locked:
    a pod that is being set up has its address before it can be seen.
    """
    allocator = Allocator(client)
    problems: list[str] = []
    for release in [*findings.leaked, *(wrong for wrong, _ in findings.mistaken)]:
        try:
            allocator.release_ips([release])
        except DatastoreError as error:
            problems.append(f"{release.address} stays allocated: {error}")
    network = _network(client)
    for use in [*findings.missing, *(use for _, use in findings.mistaken)]:
        attributes = {"namespace": use.namespace, "pod": use.pod, "node": use.node}
        handle = f"{network}.{use.container}" if use.container else None
        try:
            allocator.assign_ip(use.address, handle, attributes, use.node)
        except DatastoreError as error:
            problems.append(f"{use.address} of {use.namespace}/{use.pod} cannot be recorded: {error}")
    return problems


def _uses(endpoint: WorkloadEndpoint) -> Iterable[Use]:
    spec, meta = endpoint.spec, endpoint.metadata
    for network in spec.ip_networks:
        address = str(ipaddress.ip_interface(network).ip)
        pod = spec.pod or spec.workload or meta.name
        yield Use(address, meta.namespace, pod, spec.node, spec.container_id, meta.uid)


def _is_of(holder: Holder, use: Use) -> bool:
    if use.container and holder.handle:
        return holder.handle.endswith(f".{use.container}")
    return (holder.attributes.get("namespace"), holder.attributes.get("pod")) == (use.namespace, use.pod)


def _network(client: Client) -> str:
    """The name of the plugins' network: what most handles begin with."""
    begins = Counter(
        holder.handle.rpartition(".")[0]
        for each in client.list(IPAMBlock).items
        for _, holder in blocks.allocated(each.spec)
        if holder.handle and "pod" in holder.attributes
    )
    return begins.most_common(1)[0][0] if begins else _NETWORK
