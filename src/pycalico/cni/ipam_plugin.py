"""The CNI plugin ``calico-ipam``."""

from __future__ import annotations

from typing import Any

from pycalico.cni import addresses, entry, netconf, result
from pycalico.cni.invocation import Invocation


def add(call: Invocation) -> dict[str, Any]:
    """Assigns addresses; they carry their block's prefix length. Raises CNIError."""
    node = netconf.node_name(call.config)
    wish = addresses.wish_of(call.config, call.arguments)
    assigned = addresses.assign(call.client, call.config, call.arguments, node, wish)
    return result.render(call.config.cniVersion, assigned)


def delete(call: Invocation) -> None:
    """Gives back whatever the container holds. Raises CNIError."""
    addresses.release(call.client, call.config, call.arguments)


PLUGIN = entry.Plugin("calico-ipam", add, delete)


def main() -> None:
    entry.main(PLUGIN)
