"""The CNI plugin ``calico-ipam``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from pycalico.cni import addresses, cniargs, collection, entry, netconf, readiness, result
from pycalico.cni.invocation import Invocation

#: Where host-local keeps the addresses of the network that Calico's manifests name so.
_HOST_LOCAL = Path("/var/lib/cni/networks/k8s-pod-network")


def add(call: Invocation) -> dict[str, Any]:
    """Assigns addresses; they carry their block's prefix length. Raises CNIError."""
    cniargs.check_known(call.environ, assigns=True)
    readiness.await_nodename(call.config)
    node = netconf.node_name(call.config)
    if call.is_repeated:
        addresses.release(call)
    wish = addresses.wish_of(call.config, call.arguments)
    assigned = addresses.assign(call, node, wish)
    return result.render(call.config.cniVersion or "0.1.0", assigned)


def delete(call: Invocation) -> None:
    """Gives back whatever the container holds. Raises CNIError."""
    cniargs.check_known(call.environ, assigns=False)
    addresses.release(call)


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


PLUGIN = entry.Plugin(
    "calico-ipam",
    "calico-ipam",
    "Calico CNI IPAM",
    add,
    delete,
    readiness.status,
    collection.collect,
    upgrade=upgrade,
)


def main() -> None:
    entry.main(PLUGIN)
