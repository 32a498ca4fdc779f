"""Filling the node's PodCIDR into a host-local ``ipam`` part (``usePodCidr``)."""

from __future__ import annotations

import copy
import ipaddress
from collections.abc import Iterator, Sequence
from typing import Any

from pycalico.cni.errors import CNIError

_V4, _V6 = "usepodcidr", "usepodcidripv6"


def filled(ipam: dict[str, Any], pod_cidrs: Sequence[str], node: str) -> dict[str, Any]:
    """A copy with every ``usePodCidr`` replaced. Raises CNIError when the node has no fitting PodCIDR."""
    found = copy.deepcopy(ipam)
    for place in [found, *_ranges(found.get("ranges") or [])]:
        subnet = str(place.get("subnet", "")).lower()
        if subnet in (_V4, _V6):
            place["subnet"] = _pick(pod_cidrs, node, version=6 if subnet == _V6 else 4)
    return found


def _ranges(groups: Any) -> Iterator[dict[str, Any]]:
    failure = "failed to parse host-local IPAM"
    if not isinstance(groups, list):
        raise CNIError(f"{failure} ranges section; was expecting a list, not: {groups}")
    for group in groups:
        if not isinstance(group, list):
            raise CNIError(f"{failure} range set; was expecting a list, not: []")
        for item in group:
            if not isinstance(item, dict):
                raise CNIError(f"{failure} data; was expecting a dict, not: {item}")
            yield item


def routes(ipam: dict[str, Any]) -> list[str]:
    """Destinations of the routes that the configuration asks for. Raises CNIError."""
    asked = ipam.get("routes") or []
    if not isinstance(asked, list):
        raise CNIError(f"failed to parse host-local IPAM routes section; expecting list, not: {asked}")
    found = []
    for route in asked:
        destination = route.get("dst") if isinstance(route, dict) else None
        if destination is None:
            continue
        if not isinstance(destination, str):
            raise CNIError(f"invalid IPAM routes section; expecting 'dst' to be a string, not: {destination}")
        try:
            address, length = destination.split("/")
            found.append(str(ipaddress.ip_network((address, int(length)), strict=False)))
        except ValueError:
            raise CNIError(f"invalid CIDR address: {destination}") from None
    return found


def emptied(ipam: dict[str, Any]) -> dict[str, Any]:
    """For DEL, where any subnet will do: no request to the API server is needed."""
    return filled(ipam, ("0.0.0.0/0", "::/0"), "")


def _pick(pod_cidrs: Sequence[str], node: str, *, version: int) -> str:
    if not pod_cidrs:
        raise CNIError(f"no podCidr for node {node}")
    fitting = [cidr for cidr in pod_cidrs if (":" in cidr) == (version == 6)]
    if not fitting:
        word = "usePodCidrIPv6" if version == 6 else "usePodCidr"
        raise CNIError(f"{word} found but there is no IPv{version} CIDR configured")
    if len(fitting) > 1:
        raise CNIError("ClusterCIDR contains two ranges of the same type")
    return fitting[0]
