"""What has to happen before a pool or a node is deleted, so that nothing of it stays behind."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Protocol, cast

from pycalico.api.kinds import KINDS
from pycalico.datastore import endpointname
from pycalico.datastore.client import Client
from pycalico.datastore.errors import NotFound, NotSupported

#: Allocations under way when a pool is disabled get this long to finish.
_POOL_PAUSE_S = 0.5


class IPAM(Protocol):
    """What deleting pools and nodes needs of IPAM; ``pycalico.ipam.allocator.Allocator`` offers it."""

    def release_pool_affinities(self, pool: str) -> None: ...

    def release_ips(self, releases: Any) -> list[str]: ...

    def remove_host(self, host: str) -> None: ...


def retire_pool(client: Client, ipam: Callable[[], IPAM] | None, name: str, revision: str) -> str:
    """Disables the pool and takes its blocks from their hosts; returns the revision to delete it at."""
    pool: Any = client.get(KINDS["IPPool"].type, name)
    if not pool.spec.disabled:
        pool.spec.disabled = True
        pool.metadata.resource_version = revision or pool.metadata.resource_version
        client.update(pool)
        revision = ""
    if ipam is not None:
        time.sleep(_POOL_PAUSE_S)
        try:
            ipam().release_pool_affinities(pool.spec.cidr)
        except NotSupported:
            return revision
    return revision


def clean_up_node(client: Client, make_ipam: Callable[[], IPAM] | None, name: str) -> None:
    """Frees what the node holds and removes what was meant for it alone."""
    endpoints: Any = [
        item
        for item in cast(
            "Any",
            client.list(KINDS["WorkloadEndpoint"].type, name_prefix=endpointname.node_prefix(name)).items,
        )
        if item.spec.node == name
    ]
    addresses = [text for item in endpoints for text in item.spec.ip_networks]
    try:
        node: Any = client.get(KINDS["Node"].type, name)
    except NotFound:
        node = None
    if node is not None:
        spec = node.spec
        addresses += [
            text
            for text in (
                spec.bgp.ipv4_ipip_tunnel_addr if spec.bgp else "",
                spec.ipv4_vxlan_tunnel_addr,
                spec.wireguard.interface_ipv4_address if spec.wireguard else "",
            )
            if text
        ]
    ipam = make_ipam() if make_ipam is not None else None
    if ipam is not None and addresses:
        _tolerant(lambda: ipam.release_ips([text.split("/")[0] for text in addresses]))
    for item in endpoints:
        _remove(client, "WorkloadEndpoint", item.metadata.name, item.metadata.namespace)
    if ipam is not None:
        _tolerant(lambda: ipam.remove_host(name))
    _remove_of(client, name, "BGPPeer")
    _remove(client, "FelixConfiguration", f"node.{name}")
    _remove(client, "BGPConfiguration", f"node.{name}")
    _remove_of(client, name, "HostEndpoint")


def _remove_of(client: Client, node: str, kind: str) -> None:
    items: Any = client.list(KINDS[kind].type).items
    for item in items:
        if item.spec.node == node:
            _remove(client, kind, item.metadata.name)


def _remove(client: Client, kind: str, name: str, namespace: str = "") -> None:
    _tolerant(lambda: client.delete(KINDS[kind].type, name, namespace))


def _tolerant(action: Callable[[], object]) -> None:
    """What is gone already, or what this datastore does not keep, needs no cleaning up."""
    try:
        action()
    except (NotFound, NotSupported):
        return
