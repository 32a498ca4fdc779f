"""Endpoints and EndpointSlices of Services, as pure functions over what the API has."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import msgspec

from pycalico.lab import plan, scheduler
from pycalico.lab.cluster import Object

SERVICE_NAME = "kubernetes.io/service-name"
_MANAGED_BY = "endpointslice.kubernetes.io/managed-by"
_US = "endpointslice-controller.k8s.io"
_COMMON_LABELS = {_MANAGED_BY: _US}


class Plan(NamedTuple):
    """Of Endpoints and EndpointSlices; ``change`` has an object as it is and what is to be merged into it."""

    create: list[Object]
    change: list[tuple[Object, Object]]
    delete: list[Object]


def reconcile(
    services: Iterable[Object], pods: Sequence[Object], slices: Iterable[Object], endpoints: Iterable[Object]
) -> Plan:
    """What brings the objects that are there, ours among them, to what the Services ask for."""
    wanted: dict[tuple[str, str, str], Object] = {}
    for service in services:
        for item in _objects(service, pods):
            meta = item["metadata"]
            wanted[item["kind"], meta["namespace"], meta["name"]] = item
    there = [item for item in slices if item["metadata"].get("labels", {}).get(_MANAGED_BY) == _US]
    there += [item for item in endpoints if _MANAGED_BY in item["metadata"].get("labels", {})]
    plan_ = Plan([], [], [])
    for old in there:
        new = wanted.pop((old["kind"], old["metadata"]["namespace"], old["metadata"]["name"]), None)
        if new is None:
            plan_.delete.append(old)
            continue
        differing = {key: value for key, value in new.items() if key not in _SAME and old.get(key) != value}
        if differing:
            plan_.change.append((old, differing))
    plan_.create.extend(wanted.values())
    return plan_


_SAME = ("metadata", "kind", "apiVersion", "addressType")


def _objects(service: Object, pods: Sequence[Object]) -> list[Object]:
    meta, spec = service["metadata"], service["spec"]
    if (meta["namespace"], meta["name"]) == ("default", "kubernetes"):
        port = {"name": "https", "port": plan.API_PORT, "protocol": "TCP"}
        backend = {"ip": plan.CONTROL_PLANE.address}
        return [
            _slice(service, [port], [_of_slice(backend, ready=True)]),
            _endpoints(service, [([port], [backend], [])]),
        ]
    if not spec.get("selector"):
        return []
    by_ports: dict[bytes, list[Object]] = {}
    for pod in pods:
        if _is_backend(service, pod):
            by_ports.setdefault(msgspec.json.encode(_ports(spec, pod)), []).append(pod)
    made, subsets = [], []
    for key in sorted(by_ports):
        ports: list[Object] = msgspec.json.decode(key)
        members = sorted(by_ports[key], key=lambda pod: str(pod["status"]["podIP"]))
        made.append(
            _slice(service, ports, [_of_slice(_address(pod), ready=_serves(spec, pod)) for pod in members])
        )
        ready = [_address(pod) for pod in members if _serves(spec, pod)]
        waiting = [_address(pod) for pod in members if not _serves(spec, pod)]
        subsets.append((ports, ready, waiting))
    return [*made, _endpoints(service, subsets)]


def _is_backend(service: Object, pod: Object) -> bool:
    if pod["metadata"]["namespace"] != service["metadata"]["namespace"] or pod["metadata"].get(
        "deletionTimestamp"
    ):
        return False
    labels = pod["metadata"].get("labels", {})
    return bool(pod.get("status", {}).get("podIP")) and all(
        labels.get(key) == value for key, value in service["spec"]["selector"].items()
    )


def _serves(spec: Object, pod: Object) -> bool:
    return bool(spec.get("publishNotReadyAddresses")) or scheduler.is_ready(pod)


def _ports(spec: Object, pod: Object) -> list[Object]:
    """The Service's ports on the pod; one that the pod does not name is left out."""
    named = {
        port["name"]: port["containerPort"]
        for container in pod["spec"]["containers"]
        for port in container.get("ports", [])
        if port.get("name")
    }
    found = []
    for port in spec.get("ports", []):
        target = port.get("targetPort", port["port"])
        number = named.get(target) if isinstance(target, str) else target
        if number:
            found.append(
                {"name": port.get("name", ""), "port": number, "protocol": port.get("protocol", "TCP")}
            )
    return found


def _address(pod: Object) -> Object:
    meta = pod["metadata"]
    target = {"kind": "Pod", "namespace": meta["namespace"], "name": meta["name"], "uid": meta["uid"]}
    return {"ip": pod["status"]["podIP"], "nodeName": pod["spec"]["nodeName"], "targetRef": target}


def _of_slice(address: Object, *, ready: bool) -> Object:
    rest = {key: value for key, value in address.items() if key != "ip"}
    conditions = {"ready": ready, "serving": ready, "terminating": False}
    return {"addresses": [address["ip"]], "conditions": conditions, **rest}


def _slice(service: Object, ports: list[Object], endpoints: list[Object]) -> Object:
    meta = service["metadata"]
    hashed = hashlib.sha256(msgspec.json.encode(ports)).hexdigest()[:5]
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": f"{meta['name']}-{hashed}",
            "namespace": meta["namespace"],
            "labels": {SERVICE_NAME: meta["name"], **_COMMON_LABELS},
        },
        "addressType": "IPv4",
        "ports": ports,
        "endpoints": endpoints,
    }


def _endpoints(service: Object, subsets: Iterable[tuple[list[Object], list[Object], list[Object]]]) -> Object:
    meta = service["metadata"]
    found = []
    for ports, ready, waiting in subsets:
        subset: Object = {"ports": ports}
        if ready:
            subset["addresses"] = ready
        if waiting:
            subset["notReadyAddresses"] = waiting
        if ready or waiting:
            found.append(subset)
    return {
        "apiVersion": "v1",
        "kind": "Endpoints",
        "metadata": {"name": meta["name"], "namespace": meta["namespace"], "labels": dict(_COMMON_LABELS)},
        "subsets": found,
    }
