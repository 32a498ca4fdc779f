"""Workload and host endpoints together, as they share groups and marks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pycalico.dataplane.managers.groups import Groups
from pycalico.dataplane.managers.hosts import HostEndpointManager
from pycalico.dataplane.managers.plane import Handlers, Offers, Plane
from pycalico.dataplane.managers.policies import PolicyManager
from pycalico.dataplane.managers.workloads import WorkloadManager
from pycalico.dataplane.rules.dispatch import endpoint_mark_dispatch
from pycalico.dataplane.rules.marks import EndpointMarks


class EndpointManager:
    def __init__(self, plane: Plane, policies: PolicyManager) -> None:
        self._plane = plane
        self._policies = policies
        self._marks = EndpointMarks(plane.context.marks.endpoint)
        self._groups = Groups(plane, policies)
        self._workloads = WorkloadManager(plane, self._groups, self._marks)
        self._hosts = HostEndpointManager(plane, self._groups, self._marks)
        self._offers = Offers(plane.tables)

    @property
    def handlers(self) -> Handlers:
        found: dict[type, list[Callable[[Any], object]]] = {}
        for part in (self._workloads, self._hosts):
            for kind, handler in part.handlers.items():
                found.setdefault(kind, []).append(handler)
        return {kind: _all_of(handlers) for kind, handlers in found.items()}

    def resolve(self) -> None:
        if self._policies.regrouped:
            regrouped, self._policies.regrouped = self._policies.regrouped, set()
            users = self._groups.users_of(regrouped)
            self._workloads.regroup(users)
            self._hosts.regroup(users)
        changed, self._policies.changed = self._policies.changed, set()
        self._workloads.resolve()
        self._hosts.resolve()
        self._groups.refresh(changed)
        if self._plane.context.config.kube_ipvs:
            self._offers.put("marks", "filter", self._mark_dispatch())

    def _mark_dispatch(self) -> list[Any]:
        workloads = self._marked(self._workloads.interfaces)
        return endpoint_mark_dispatch(self._plane.context, workloads, self._marked(self._hosts.interfaces))

    def _marked(self, interfaces: list[str]) -> Mapping[str, int]:
        return {interface: self._marks.assign(interface) for interface in sorted(interfaces)}


def _all_of(handlers: list[Callable[[Any], object]]) -> Callable[[Any], object]:
    def handle(message: Any) -> None:
        for handler in handlers:
            handler(message)

    return handle
