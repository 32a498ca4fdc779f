"""Filling the node's PodCIDR into a host-local ``ipam`` part (``usePodCidr``)."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

from pycalico.cni.errors import CNIError

_V4, _V6 = "usepodcidr", "usepodcidripv6"


def filled(ipam: dict[str, Any], pod_cidrs: Sequence[str], node: str) -> dict[str, Any]:
    """A copy with every ``usePodCidr`` replaced. Raises CNIError when the node has no fitting PodCIDR."""
    found = copy.deepcopy(ipam)
    places = [found, *(item for group in found.get("ranges") or [] for item in group)]
    for place in places:
        subnet = str(place.get("subnet", "")).lower()
        if subnet in (_V4, _V6):
            place["subnet"] = _pick(pod_cidrs, node, version=6 if subnet == _V6 else 4)
    return found


def emptied(ipam: dict[str, Any]) -> dict[str, Any]:
    """For DEL, where any subnet will do: no request to the API server is needed."""
    return filled(ipam, ("0.0.0.0/0", "::/0"), "")


def _pick(pod_cidrs: Sequence[str], node: str, *, version: int) -> str:
    if not pod_cidrs:
        raise CNIError(f"no podCidr for node {node}")
    fitting = [cidr for cidr in pod_cidrs if (":" in cidr) == (version == 6)]
    if not fitting:
        raise CNIError(f"usePodCidr found but there is no IPv{version} CIDR configured")
    if len(fitting) > 1:
        raise CNIError("ClusterCIDR contains two ranges of the same type")
    return fitting[0]
