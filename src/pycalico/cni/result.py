"""A plugin's success as JSON, in the shape of the conflist's CNI version."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from typing import Any


def render(
    version: str, addresses: Sequence[str], interface: str = "", routes: Sequence[dict[str, Any]] = ()
) -> dict[str, Any]:
    """``addresses`` in CIDR form. An IPAM plugin's result has no interface. ``routes`` are another IPAM plugin's."""
    if version in ("0.1.0", "0.2.0"):
        families = {ipaddress.ip_interface(item).version: item for item in addresses}
        found: dict[str, Any] = {"cniVersion": version}
        for family in (4, 6):
            if family in families:
                found[f"ip{family}"] = {"ip": families[family]}
        return {**found, "dns": {}}
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
    if routes:
        rendered["routes"] = list(routes)
    if not version.startswith("1."):
        rendered["dns"] = {}
    return rendered


def addresses_of(result: dict[str, Any]) -> list[str]:
    """The addresses of another plugin's result, of any version."""
    if "ips" in result:
        return [item["address"] for item in result["ips"]]
    return [result[key]["ip"] for key in ("ip4", "ip6") if result.get(key)]
