"""Whether each local endpoint is up: for the datastore, and as files for CNI."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import quote

from pycalico.calc.messages import (
    HostEndpointRemove,
    HostEndpointUpdate,
    WorkloadEndpointID,
    WorkloadEndpointRemove,
    WorkloadEndpointUpdate,
)
from pycalico.dataplane.managers.host_match import WILDCARD, match_interfaces
from pycalico.dataplane.managers.plane import Handlers, InterfacesChanged
from pycalico.dataplane.managers.sets import is_skipped
from pycalico.kernel.interfaces import Interfaces

#: A workload's identifier or a host endpoint's name, and up, down, error, or None when it is gone.
OnStatus = Callable[[WorkloadEndpointID | str, str | None], None]


def file_name(endpoint: WorkloadEndpointID) -> str:
    """``k8s default%2Fpod1 eth0``."""
    parts = (endpoint.orchestrator, endpoint.workload, endpoint.endpoint)
    return " ".join(quote(part, safe="$&+:=@") for part in parts)


class StatusManager:
    """Once for both families. ``report`` collects what changed since the last call."""

    def __init__(
        self,
        interfaces: Interfaces,
        skipped: tuple[tuple[str, ...], tuple[str, ...]],
        failed: Callable[[str], bool],
    ) -> None:
        self._interfaces = interfaces
        self._skipped = is_skipped(*skipped)
        self._failed = failed
        self._workloads: dict[WorkloadEndpointID, WorkloadEndpointUpdate] = {}
        self._hosts: dict[str, HostEndpointUpdate] = {}
        self._told: dict[WorkloadEndpointID | str, str] = {}

    @property
    def handlers(self) -> Handlers:
        return {
            WorkloadEndpointUpdate: lambda u: self._workloads.__setitem__(u.id, u),
            WorkloadEndpointRemove: lambda r: self._workloads.pop(r.id, None),
            HostEndpointUpdate: lambda u: self._hosts.__setitem__(u.name, u),
            HostEndpointRemove: lambda r: self._hosts.pop(r.name, None),
            InterfacesChanged: lambda _: None,
        }

    def resolve(self) -> None:
        """Statuses are told after the kernel was written: see `report`."""

    def report(self) -> dict[WorkloadEndpointID | str, str | None]:
        now: dict[WorkloadEndpointID | str, str] = {
            key: self._workload(u) for key, u in self._workloads.items()
        }
        now.update(self._host_statuses())
        changed: dict[WorkloadEndpointID | str, str | None] = {
            key: value for key, value in now.items() if self._told.get(key) != value
        }
        changed.update(dict.fromkeys(self._told.keys() - now.keys()))
        self._told = now
        return changed

    def _is_up(self, interface: str) -> bool:
        found = self._interfaces.get(interface)
        return found is not None and found.link.up

    def _workload(self, update: WorkloadEndpointUpdate) -> str:
        if not self._is_up(update.interface):
            return "down"
        if self._failed(update.interface):
            return "error"
        return "up" if update.state == "active" else "down"

    def _host_statuses(self) -> dict[str, str]:
        if not self._hosts:
            return {}
        names = [i for i in self._interfaces.names() if not self._skipped.search(i)]
        held: dict[str, list[str]] = {}
        for interface, endpoint in match_interfaces(self._hosts, names, self._addresses).items():
            held.setdefault(endpoint, []).append(interface)
        return {endpoint: self._host(endpoint, held.get(endpoint, [])) for endpoint in self._hosts}

    def _addresses(self, interface: str) -> frozenset[str]:
        found = self._interfaces.get(interface)
        return found.addresses if found else frozenset()

    def _host(self, endpoint: str, interfaces: list[str]) -> str:
        if not interfaces:
            return "error"
        if self._hosts[endpoint].interface == WILDCARD:
            return "up"
        return "up" if all(self._is_up(interface) for interface in interfaces) else "down"
