"""The CNI plugin ``calico-ipam``."""

from __future__ import annotations

from typing import Any

from pycalico.cni import addresses, entry, netconf, result
from pycalico.cni.netconf import Arguments, NetConf


def main() -> None:
    entry.main("calico-ipam", add=add, delete=delete)


def add(config: NetConf, arguments: Arguments, raw: dict[str, Any]) -> dict[str, Any]:  # noqa: ARG001
    """Assigns addresses; they carry their block's prefix length. Raises CNIError."""
    node = netconf.node_name(config)
    wish = addresses.wish_of(config, arguments)
    assigned = addresses.assign(entry.open_datastore(config), config, arguments, node, wish)
    return result.render(config.cniVersion, assigned)


def delete(config: NetConf, arguments: Arguments, raw: dict[str, Any]) -> None:  # noqa: ARG001
    """Gives back whatever the container holds. Raises CNIError."""
    addresses.release(entry.open_datastore(config), config, arguments)
