"""IPAM's records in etcd: each kind under keys of its own, in its own form."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from pycalico.api import names
from pycalico.api.meta import R
from pycalico.api.v3.ipam import BlockAffinity, IPAMBlock, IPAMConfig, IPAMHandle
from pycalico.datastore.errors import Invalid
from pycalico.datastore.etcd import ipamforms, keys
from pycalico.datastore.etcd.gateway import Gateway
from pycalico.datastore.etcd.stores import Store


class IPAMStore(Store[R]):
    def fresh(self, resource: R) -> None:
        """IPAM's records have no metadata in etcd."""


class BlockStore(IPAMStore[IPAMBlock]):
    def key_of(self, resource: IPAMBlock) -> str:
        return keys.block(resource.spec.cidr)

    def key(self, gateway: Gateway, namespace: str, name: str) -> str | None:  # noqa: ARG002
        try:
            return keys.block(names.block_cidr(name))
        except ValueError:
            return None

    def prefix(self, namespace: str, name_prefix: str) -> str:  # noqa: ARG002
        return keys.BLOCKS

    def encode(self, resource: IPAMBlock) -> bytes:
        return ipamforms.encode_block(resource)

    def decode(self, key: str, value: bytes) -> IPAMBlock | None:
        return _decoded(ipamforms.decode_block, key, value)


class AffinityStore(IPAMStore[BlockAffinity]):
    def key_of(self, resource: BlockAffinity) -> str:
        return keys.affinity(resource.spec.node, resource.spec.cidr)

    def key(self, gateway: Gateway, namespace: str, name: str) -> str | None:  # noqa: ARG002
        candidates = [keys.affinity(host, cidr) for host, cidr in keys.affinity_candidates(name)]
        if len(candidates) == 1:
            return candidates[0]
        for candidate in candidates:
            if gateway.range(candidate, keys_only=True).kvs:
                return candidate
        for kv in gateway.range(keys.HOSTS, prefix=True, keys_only=True).kvs:
            parts = keys.affinity_parts(kv.key.decode())
            if parts is not None and names.affinity(*parts) == name:
                return kv.key.decode()
        return None

    def prefix(self, namespace: str, name_prefix: str) -> str:  # noqa: ARG002
        return keys.HOSTS

    def encode(self, resource: BlockAffinity) -> bytes:
        return ipamforms.encode_affinity(resource)

    def decode(self, key: str, value: bytes) -> BlockAffinity | None:
        return _decoded(ipamforms.decode_affinity, key, value)


class HandleStore(IPAMStore[IPAMHandle]):
    def key_of(self, resource: IPAMHandle) -> str:
        return keys.handle(resource.spec.handle_id or resource.metadata.name)

    def key(self, gateway: Gateway, namespace: str, name: str) -> str | None:  # noqa: ARG002
        return keys.handle(name)

    def prefix(self, namespace: str, name_prefix: str) -> str:  # noqa: ARG002
        return keys.HANDLES + name_prefix

    def encode(self, resource: IPAMHandle) -> bytes:
        return ipamforms.encode_handle(resource)

    def decode(self, key: str, value: bytes) -> IPAMHandle | None:
        return _decoded(ipamforms.decode_handle, key, value)


class ConfigStore(IPAMStore[IPAMConfig]):
    def key_of(self, resource: IPAMConfig) -> str:  # noqa: ARG002
        return keys.CONFIG

    def key(self, gateway: Gateway, namespace: str, name: str) -> str | None:  # noqa: ARG002
        return keys.CONFIG if name == "default" else None

    def prefix(self, namespace: str, name_prefix: str) -> str:  # noqa: ARG002
        return keys.CONFIG

    def encode(self, resource: IPAMConfig) -> bytes:
        return ipamforms.encode_config(resource)

    def decode(self, key: str, value: bytes) -> IPAMConfig | None:
        return _decoded(ipamforms.decode_config, key, value)


def _decoded(form: Callable[[str, bytes], R | None], key: str, value: bytes) -> R | None:
    try:
        return form(key, value)
    except (msgspec.DecodeError, ValueError) as error:
        raise Invalid(f"the value of {key} cannot be decoded: {error}") from error


IPAM_STORES: dict[str, type[Store[Any]]] = {
    "IPAMBlock": BlockStore,
    "BlockAffinity": AffinityStore,
    "IPAMHandle": HandleStore,
    "IPAMConfig": ConfigStore,
}
