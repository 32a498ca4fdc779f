"""What etcd answers to a read, however it was asked."""

from __future__ import annotations

import msgspec


class Header(msgspec.Struct):
    revision: str = "0"


class KeyValue(msgspec.Struct):
    """In JSON ``key`` and ``value`` come as base64; revisions are decimal text, since they exceed what JSON holds."""

    key: bytes = b""
    value: bytes = b""
    mod_revision: str = "0"
    create_revision: str = "0"
    version: str = "0"


class RangeAnswer(msgspec.Struct):
    """``more``: there are further keys than the limit let through."""

    header: Header = msgspec.field(default_factory=Header)
    kvs: list[KeyValue] = []
    more: bool = False
