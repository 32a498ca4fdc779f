"""A plugin's success as JSON, in the shape of the conflist's CNI version."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from typing import Any

from pycalico.cni.errors import CNIError


def render(
    version: str, addresses: Sequence[str], interface: str = "", given: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """``addresses`` in CIDR form. An IPAM plugin's result has no interface. ``given`` is the result of another IPAM
    plugin, whose routes and name servers are passed on.
    """
    given = given or {}
    dns = given.get("dns") or {}
    if version in ("0.1.0", "0.2.0"):
        families = {ipaddress.ip_interface(item).version: item for item in addresses}
        found: dict[str, Any] = {"cniVersion": version}
        for family in (4, 6):
            if family in families:
                found[f"ip{family}"] = {"ip": families[family]}
        return {**found, "dns": dns}
    ips = []
    for item in addresses:
        entry: dict[str, Any] = {}
        if not version.startswith("1."):
            entry["version"] = str(ipaddress.ip_interface(item).version)
        ips.append({**entry, "address": item})
    rendered: dict[str, Any] = {"cniVersion": version}
    if interface:
        rendered["interfaces"] = [{"name": interface}]
    if ips:
        rendered["ips"] = ips
    if given.get("routes"):
        rendered["routes"] = given["routes"]
    if dns or not version.startswith("1."):
        rendered["dns"] = dns
    return rendered


def addresses_of(result: dict[str, Any]) -> list[str]:
    """The addresses of another plugin's result, of any version. Raises CNIError for a route to nowhere."""
    for route in result.get("routes") or []:
        if "/" not in route.get("dst", ""):
            raise CNIError(f"invalid CIDR address: {route.get('dst')}")
    if "ips" in result:
        return [item["address"] for item in result["ips"]]
    return [result[key]["ip"] for key in ("ip4", "ip6") if result.get(key)]
