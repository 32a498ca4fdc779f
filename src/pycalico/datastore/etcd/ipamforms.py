"""IPAM's records as etcd holds them: other names and fewer fields than in the CRDs."""

from __future__ import annotations

import msgspec

from pycalico.api import names
from pycalico.api.meta import ObjectMeta
from pycalico.api.v3.ipam import (
    AllocationAttribute,
    BlockAffinity,
    BlockAffinitySpec,
    IPAMBlock,
    IPAMBlockSpec,
    IPAMConfig,
    IPAMConfigSpec,
    IPAMHandle,
    IPAMHandleSpec,
)
from pycalico.base import shapes
from pycalico.datastore.etcd import keys


class _Attribute(msgspec.Struct):
    handle_id: str | None = None
    secondary: dict[str, str] | None = None
    released_at: str | msgspec.UnsetType = msgspec.field(default=msgspec.UNSET, name="releasedAt")


class _Block(msgspec.Struct, rename="camel"):
    cidr: str = ""
    affinity: str | None = None
    allocations: list[int | None] = []
    unallocated: list[int] = []
    attributes: list[_Attribute] = []
    sequence_number: int = 0
    sequence_number_for_allocation: dict[str, int] | None = None
    deleted: bool = False


class _OldBlock(msgspec.Struct, rename="camel"):
    """``hostAffinity`` is the form of Calico v2: read, never written."""

    host_affinity: str | None = None


class _Affinity(msgspec.Struct):
    state: str = ""
    deleted: bool = False


class _Handle(msgspec.Struct):
    block: dict[str, int] | None = None
    deleted: bool = False


class _Config(msgspec.Struct, omit_defaults=True):
    strict_affinity: bool = False
    auto_allocate_blocks: bool = False
    max_blocks_per_host: int = msgspec.field(default=0, name="maxBlocksPerHost")
    ip_cooldown_seconds: int = msgspec.field(default=0, name="ipCooldownSeconds")


_BLOCK = shapes.decoder(_Block)
_HANDLE = shapes.decoder(_Handle)


def encode_block(block: IPAMBlock) -> bytes:
    spec = block.spec
    return msgspec.json.encode(
        _Block(
            cidr=spec.cidr,
            affinity=spec.affinity,
            allocations=spec.allocations,
            unallocated=spec.unallocated,
            attributes=[
                _Attribute(each.handle_id, each.secondary or None, each.released_at or msgspec.UNSET)
                for each in spec.attributes
            ],
            sequence_number=spec.sequence_number,
            sequence_number_for_allocation=spec.sequence_number_for_allocation,
            deleted=spec.deleted,
        )
    )


def decode_block(key: str, value: bytes) -> IPAMBlock | None:
    cidr = keys.block_cidr(key)
    if cidr is None:
        return None
    found = _BLOCK.decode(value)
    affinity = found.affinity
    if affinity is None and b'"hostAffinity"' in value:
        host = shapes.decode(value, _OldBlock).host_affinity
        affinity = f"host:{host}" if host else None
    return IPAMBlock(
        metadata=ObjectMeta(name=names.block(cidr)),
        spec=IPAMBlockSpec(
            cidr=found.cidr or cidr,
            affinity=affinity,
            allocations=found.allocations,
            unallocated=found.unallocated,
            attributes=[
                AllocationAttribute(
                    handle_id=each.handle_id,
                    secondary=each.secondary or {},
                    released_at=each.released_at or None,
                )
                for each in found.attributes
            ],
            sequence_number=found.sequence_number,
            sequence_number_for_allocation=found.sequence_number_for_allocation or {},
            deleted=found.deleted,
        ),
    )


def encode_affinity(affinity: BlockAffinity) -> bytes:
    spec = affinity.spec
    return msgspec.json.encode(_Affinity(spec.state, spec.deleted == "true"))


def decode_affinity(key: str, value: bytes) -> BlockAffinity | None:
    parts = keys.affinity_parts(key)
    if parts is None:
        return None
    host, cidr = parts
    found = shapes.decode(value, _Affinity) if value else _Affinity()
    return BlockAffinity(
        metadata=ObjectMeta(name=names.affinity(host, cidr)),
        spec=BlockAffinitySpec(
            state=found.state, node=host, cidr=cidr, deleted="true" if found.deleted else "false"
        ),
    )


def encode_handle(handle: IPAMHandle) -> bytes:
    return msgspec.json.encode(_Handle(handle.spec.block, handle.spec.deleted))


def decode_handle(key: str, value: bytes) -> IPAMHandle | None:
    name = key.removeprefix(keys.HANDLES)
    found = _HANDLE.decode(value)
    return IPAMHandle(
        metadata=ObjectMeta(name=name),
        spec=IPAMHandleSpec(handle_id=name, block=found.block or {}, deleted=found.deleted),
    )


def encode_config(config: IPAMConfig) -> bytes:
    spec = config.spec
    return msgspec.json.encode(
        _Config(
            spec.strict_affinity,
            spec.auto_allocate_blocks,
            spec.max_blocks_per_host,
            spec.ip_cooldown_seconds,
        )
    )


def decode_config(_key: str, value: bytes) -> IPAMConfig | None:
    found = shapes.decode(value, _Config)
    return IPAMConfig(
        metadata=ObjectMeta(name="default"),
        spec=IPAMConfigSpec(
            strict_affinity=found.strict_affinity,
            auto_allocate_blocks=found.auto_allocate_blocks,
            max_blocks_per_host=found.max_blocks_per_host,
            ip_cooldown_seconds=found.ip_cooldown_seconds,
        ),
    )
