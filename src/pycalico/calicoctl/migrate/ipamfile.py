"""IPAM's records in an export: JSON of etcd's keys and values, whatever the datastore."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from pycalico.api.meta import Resource
from pycalico.api.v3.ipam import BlockAffinity, IPAMBlock, IPAMConfig, IPAMHandle
from pycalico.datastore.client import Client
from pycalico.datastore.errors import DatastoreError, NotFound
from pycalico.datastore.etcd import ipamforms, keys
from pycalico.ipam.block import HOST_PREFIX

#: Handles of addresses that nodes hold for their tunnels; the rest of the name is the node's.
_TUNNELS = ("ipip-tunnel-addr-", "vxlan-tunnel-addr-", "wireguard-tunnel-addr-")


class Pair(msgspec.Struct, rename={"key": "Key", "value": "Value", "ttl": "TTL"}):
    key: str
    value: msgspec.Raw
    ttl: int = 0


class Part(msgspec.Struct, omit_defaults=True):
    """The third part of an export."""

    block_affinities: list[Pair] = []
    blocks: list[Pair] = []
    handles: list[Pair] = []
    config: Pair | None = None

    def count(self) -> int:
        return len(self.block_affinities) + len(self.blocks) + len(self.handles) + (self.config is not None)


def pull(client: Client, nodes: Mapping[str, str]) -> Part:
    """What the datastore holds; nodes are renamed by ``nodes``. Raises DatastoreError."""
    part = Part()
    for block in client.list(IPAMBlock).items:
        _rename_block(block, nodes)
        part.blocks.append(_pair(keys.block(block.spec.cidr), ipamforms.encode_block(block)))
    for affinity in client.list(BlockAffinity).items:
        host = nodes.get(affinity.spec.node, affinity.spec.node)
        key = keys.affinity(host, affinity.spec.cidr)
        part.block_affinities.append(_pair(key, ipamforms.encode_affinity(affinity)))
    for handle in client.list(IPAMHandle).items:
        name = _rename_handle(handle.spec.handle_id, nodes)
        part.handles.append(_pair(keys.handle(name), ipamforms.encode_handle(handle)))
    try:
        config = client.get(IPAMConfig, "default")
    except NotFound:
        return part
    part.config = _pair(keys.CONFIG, ipamforms.encode_config(config))
    return part


def _pair(key: str, value: bytes) -> Pair:
    return Pair(key, msgspec.Raw(value))


def _rename_block(block: IPAMBlock, nodes: Mapping[str, str]) -> None:
    spec = block.spec
    for attribute in spec.attributes:
        node = attribute.secondary.get("node", "")
        if node in nodes:
            attribute.secondary["node"] = nodes[node]
        if attribute.handle_id is not None:
            attribute.handle_id = _rename_handle(attribute.handle_id, nodes)
    owner = (spec.affinity or "").removeprefix(HOST_PREFIX)
    if owner in nodes:
        spec.affinity = HOST_PREFIX + nodes[owner]


def _rename_handle(handle: str, nodes: Mapping[str, str]) -> str:
    for prefix in _TUNNELS:
        node = handle.removeprefix(prefix)
        if node != handle and node in nodes:
            return prefix + nodes[node]
    return handle


def push(client: Client, part: Part) -> Iterator[str]:
    """Creates every record; yields what could not be."""
    forms: tuple[tuple[list[Pair], Any], ...] = (
        (part.block_affinities, ipamforms.decode_affinity),
        (part.blocks, ipamforms.decode_block),
        (part.handles, ipamforms.decode_handle),
        ([part.config] if part.config else [], ipamforms.decode_config),
    )
    for pairs, decode in forms:
        for pair in pairs:
            try:
                record: Resource | None = decode(pair.key, bytes(pair.value))
                if record is not None:
                    client.create(record)
                    continue
                reason = "the key is of another kind"
            except (DatastoreError, ValueError, msgspec.MsgspecError) as error:
                reason = str(error)
            yield f"Error trying to create {pair.key}: {reason}"
