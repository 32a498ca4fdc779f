"""Service ranges must not loop between this host and its router; floating IPs lead to workloads."""

from __future__ import annotations

from pycalico.calc.messages import (
    NATPair,
    ServiceCIDRsUpdate,
    WorkloadEndpointID,
    WorkloadEndpointRemove,
    WorkloadEndpointUpdate,
)
from pycalico.dataplane.managers.plane import Handlers, Plane
from pycalico.dataplane.rules.static_filter import cidr_block_chain
from pycalico.dataplane.rules.static_nat import floating_chains

OPENSTACK = "openstack"


class ServiceLoopManager:
    def __init__(self, plane: Plane) -> None:
        self._plane = plane
        plane.tables["filter"].update([cidr_block_chain(plane.context, ())])

    @property
    def handlers(self) -> Handlers:
        return {ServiceCIDRsUpdate: self._on_update}

    def resolve(self) -> None:
        """Nothing is left to do."""

    def _on_update(self, update: ServiceCIDRsUpdate) -> None:
        self._plane.tables["filter"].update([cidr_block_chain(self._plane.context, update.cidrs)])


class FloatingIPManager:
    def __init__(self, plane: Plane) -> None:
        self._plane = plane
        self._pairs: dict[WorkloadEndpointID, list[tuple[str, str]]] = {}
        self._dirty = True

    @property
    def handlers(self) -> Handlers:
        return {WorkloadEndpointUpdate: self._on_update, WorkloadEndpointRemove: self._on_remove}

    def _on_update(self, update: WorkloadEndpointUpdate) -> None:
        pairs = [(nat.external, nat.internal) for nat in floating_ips(self._plane, update)]
        if pairs != self._pairs.get(update.id, []):
            self._pairs[update.id] = pairs
            self._dirty = True

    def _on_remove(self, remove: WorkloadEndpointRemove) -> None:
        self._dirty |= bool(self._pairs.pop(remove.id, None))

    def resolve(self) -> None:
        if self._dirty:
            self._dirty = False
            every = [pair for pairs in self._pairs.values() for pair in pairs]
            self._plane.tables["nat"].update(floating_chains(self._plane.context, every))


def floating_ips(plane: Plane, update: WorkloadEndpointUpdate) -> tuple[NATPair, ...]:
    """Those of the family that count: all when the feature is on, OpenStack's always."""
    if not plane.context.config.floating_ips and update.id.orchestrator != OPENSTACK:
        return ()
    return update.ipv4_nats if plane.family == 4 else update.ipv6_nats
