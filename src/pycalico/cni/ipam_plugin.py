"""The CNI plugin ``calico-ipam``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from pycalico.cni import addresses, entry, netconf, result
from pycalico.cni.netconf import Arguments, NetConf

#: Where host-local keeps the addresses of the network that Calico's manifests name so.
_HOST_LOCAL = Path("/var/lib/cni/networks/k8s-pod-network")


def main() -> None:
    if sys.argv[1:] in (["-upgrade"], ["--upgrade"]):
        sys.exit(upgrade())
    entry.main("calico-ipam", add=add, delete=delete)


def upgrade(directory: Path = _HOST_LOCAL) -> int:
    """``-upgrade``, the init container upgrade-ipam: lets a node pass whose addresses host-local did not give out.

    Addresses of host-local are not taken over: pods that have them would share them with new ones.
    """
    # host-local names a file after each address it holds; its own begin with a letter.
    held = [path.name for path in directory.glob("*") if path.name[0].isdigit() or ":" in path.name]
    if not held:
        print("host-local IPAM data dir not found; no migration necessary, successfully exiting...")
        return 0
    print(
        f"calico-ipam: pods of this node have {len(held)} addresses of host-local (in {directory}), which are not "
        "taken over: drain the node, remove that directory, then start the pod again",
        file=sys.stderr,
    )
    return 1


def add(config: NetConf, arguments: Arguments, raw: dict[str, Any]) -> dict[str, Any]:  # noqa: ARG001
    """Assigns addresses; they carry their block's prefix length. Raises CNIError."""
    node = netconf.node_name(config)
    wish = addresses.wish_of(config, arguments)
    assigned = addresses.assign(entry.open_datastore(config), config, arguments, node, wish)
    return result.render(config.cniVersion, assigned)


def delete(config: NetConf, arguments: Arguments, raw: dict[str, Any]) -> None:  # noqa: ARG001
    """Gives back whatever the container holds. Raises CNIError."""
    addresses.release(entry.open_datastore(config), config, arguments)
