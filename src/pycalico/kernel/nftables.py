"""Objects of nf_tables as messages, and dumps of them as values.

Source of the layouts: linux/netfilter/nf_tables.h; of types of keys and of comments: libnftnl, nftables.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator

import msgspec

from pycalico.kernel import nfnetlink as nl
from pycalico.kernel.netlink import attributes
from pycalico.kernel.nfnetlink import Channel, Message, attribute, nested, number, text
from pycalico.kernel.nftexpr import verdict_body

ANONYMOUS, CONSTANT, INTERVAL, MAP = 1, 2, 4, 8
_INTERVAL_END = 1
_VERDICT = 0xFFFFFF00

#: Types of keys as nft numbers them; the kernel keeps them for nft's eyes only.
IPV4, IPV6, PROTOCOL, SERVICE, INTERFACE = 7, 8, 12, 13, 41
_LENGTH = {IPV4: 4, IPV6: 16, PROTOCOL: 4, SERVICE: 4, INTERFACE: 16}
"""Bytes of a key; parts of a concatenation take whole words."""
PREROUTING, INPUT, FORWARD, OUTPUT, POSTROUTING = range(5)

#: An attribute's length is a 16-bit number, so long lists of elements are cut.
_LIST_MOST = 60000


class Hook(msgspec.Struct, frozen=True):
    """``type`` is filter, nat or route."""

    type: str
    number: int
    priority: int


class SetKey(msgspec.Struct, frozen=True):
    """``parts`` are types of keys; several make a concatenation."""

    parts: tuple[int, ...]
    interval: bool = False

    @property
    def length(self) -> int:
        if len(self.parts) == 1:
            return (
                2 if self.parts[0] == SERVICE else 1 if self.parts[0] == PROTOCOL else _LENGTH[self.parts[0]]
            )
        return sum(_LENGTH[part] for part in self.parts)

    @property
    def type(self) -> int:
        number_ = 0
        for part in self.parts:
            number_ = number_ << 6 | part
        return number_

    @property
    def flags(self) -> int:
        return INTERVAL if self.interval else 0


class SeenRule(msgspec.Struct, frozen=True):
    chain: str
    handle: int
    comment: str


class SeenSet(msgspec.Struct, frozen=True):
    name: str
    flags: int
    key_type: int
    key_length: int


# ---- writing ----------------------------------------------------------------------------------------------


def new_table(family: int, table: str) -> Message:
    return Message(nl.NEWTABLE, nl.CREATE, family, text(1, table) + number(2, 0))


def delete_table(family: int, table: str) -> Message:
    return Message(nl.DELTABLE, 0, family, text(1, table))


def new_chain(family: int, table: str, chain: str, hook: Hook | None = None) -> Message:
    body = text(1, table) + text(3, chain)
    if hook:
        body += nested(4, number(1, hook.number) + number(2, hook.priority & 0xFFFFFFFF))
        body += number(5, 1) + text(7, hook.type)
    return Message(nl.NEWCHAIN, nl.CREATE, family, body)


def delete_chain(family: int, table: str, chain: str) -> Message:
    return Message(nl.DELCHAIN, 0, family, text(1, table) + text(3, chain))


def new_rule(
    family: int,
    table: str,
    chain: str,
    expressions: bytes,
    comment: str,
    *,
    after: int = 0,
    before: int = 0,
    echo: bool = False,
) -> Message:
    """At the chain's end, or beside the rule with the handle ``after`` or ``before``."""
    body = text(1, table) + text(2, chain) + nested(4, expressions)
    if after or before:
        body += attribute(6, struct.pack(">Q", after or before))
    if comment:
        noted = comment.encode()[:127] + b"\0"
        body += attribute(7, bytes((0, len(noted))) + noted)
    flags = nl.CREATE | (0 if before else nl.APPEND) | (nl.ECHO if echo else 0)
    return Message(nl.NEWRULE, flags, family, body)


def delete_rule(family: int, table: str, chain: str, handle: int) -> Message:
    body = text(1, table) + text(2, chain) + attribute(3, struct.pack(">Q", handle))
    return Message(nl.DELRULE, 0, family, body)


def flush_chain(family: int, table: str, chain: str) -> Message:
    return Message(nl.DELRULE, 0, family, text(1, table) + text(2, chain))


def new_set(
    family: int,
    table: str,
    name: str,
    key: SetKey,
    set_id: int,
    *,
    flags: int = 0,
    verdicts: bool = False,
    size: int = 0,
) -> Message:
    """``set_id`` names the set within the transaction. ``size`` is for sets that never change."""
    body = text(1, table) + text(2, name)
    body += (
        number(3, key.flags | flags | (MAP if verdicts else 0)) + number(4, key.type) + number(5, key.length)
    )
    if verdicts:
        body += number(6, _VERDICT) + number(7, 0)
    body += number(10, set_id)
    if size:
        body += nested(9, number(1, size))
    if not flags & ANONYMOUS:
        # nft takes the byte order of what it shows from here.
        order = 1 if key.parts == (INTERFACE,) else 2
        body += attribute(13, bytes((0, 4)) + struct.pack("=I", order))
    return Message(nl.NEWSET, nl.CREATE, family, body)


def delete_set(family: int, table: str, name: str) -> Message:
    return Message(nl.DELSET, 0, family, text(1, table) + text(2, name))


def element(key: bytes, *, ends: bool = False, verdict: tuple[int, str] | None = None) -> bytes:
    """One element. ``ends``: the first key behind an interval."""
    body = nested(1, attribute(1, key))
    if ends:
        body = number(3, _INTERVAL_END) + body
    if verdict:
        body += nested(2, nested(2, verdict_body(*verdict)))
    return nested(1, body)


def elements(
    family: int, table: str, name: str, given: Iterable[bytes], *, delete: bool = False, set_id: int = 0
) -> Iterator[Message]:
    """Messages that each hold as many elements as fit."""
    head = text(1, table) + text(2, name) + (number(4, set_id) if set_id else b"")
    kind, flags = (nl.DELSETELEM, 0) if delete else (nl.NEWSETELEM, nl.CREATE)
    held: list[bytes] = []
    size = 0
    for item in given:
        if size + len(item) > _LIST_MOST:
            yield Message(kind, flags, family, head + nested(3, b"".join(held)))
            held, size = [], 0
        held.append(item)
        size += len(item)
    if held:
        yield Message(kind, flags, family, head + nested(3, b"".join(held)))


def flush_set(family: int, table: str, name: str) -> Message:
    """Takes all elements out."""
    return Message(nl.DELSETELEM, 0, family, text(1, table) + text(2, name))


# ---- reading ----------------------------------------------------------------------------------------------


def _string(value: bytes) -> str:
    return value.rstrip(b"\0").decode(errors="replace")


def tables(channel: Channel, family: int) -> set[str]:
    return {_string(dict(attributes(body, 0))[1]) for body in channel.dump(nl.GETTABLE, family)}


def chains(channel: Channel, family: int, table: str) -> dict[str, Hook | None]:
    """By name. Raises NftablesError, as all that read do."""
    found: dict[str, Hook | None] = {}
    for body in channel.dump(nl.GETCHAIN, family, text(1, table)):
        seen = dict(attributes(body, 0))
        if _string(seen[1]) != table:
            continue
        hook = None
        if 4 in seen:
            hooked = dict(attributes(seen[4], 0))
            priority = struct.unpack(">i", hooked[2])[0]
            hook = Hook(_string(seen.get(7, b"")), struct.unpack(">I", hooked[1])[0], priority)
        found[_string(seen[3])] = hook
    return found


def parse_rule(body: bytes) -> SeenRule:
    chain = comment = ""
    handle = 0
    for key, value in attributes(body, 0):
        if key == 2:
            chain = _string(value)
        elif key == 3:
            handle = int.from_bytes(value, "big")
        elif key == 7:
            comment = _comment(value)
    return SeenRule(chain, handle, comment)


def _comment(userdata: bytes) -> str:
    offset = 0
    while offset + 2 <= len(userdata):
        kind, length = userdata[offset], userdata[offset + 1]
        if kind == 0:
            return _string(userdata[offset + 2 : offset + 2 + length])
        offset += 2 + length
    return ""


def rules(channel: Channel, family: int, table: str, chain: str = "") -> Iterator[SeenRule]:
    """In order within each chain."""
    body = text(1, table) + (text(2, chain) if chain else b"")
    return (parse_rule(found) for found in channel.dump(nl.GETRULE, family, body))


def sets(channel: Channel, family: int, table: str) -> list[SeenSet]:
    """Named sets and maps; anonymous ones belong to their rules."""
    found = []
    for body in channel.dump(nl.GETSET, family, text(1, table)):
        seen = dict(attributes(body, 0))
        flags, key_type, key_length = (int.from_bytes(seen.get(key, b"\0"), "big") for key in (3, 4, 5))
        if _string(seen[1]) == table and not flags & ANONYMOUS:
            found.append(SeenSet(_string(seen[2]), flags, key_type, key_length))
    return found


def set_elements(channel: Channel, family: int, table: str, name: str) -> Iterator[tuple[bytes, bool, str]]:
    """(key, ends an interval, chain that a map's verdict goes to)."""
    for body in channel.dump(nl.GETSETELEM, family, text(1, table) + text(2, name)):
        for kind, listed in attributes(body, 0):
            if kind != 3:
                continue
            for _, item in attributes(listed, 0):
                yield _parse_element(item)


def _parse_element(item: bytes) -> tuple[bytes, bool, str]:
    key, ends, chain = b"", False, ""
    for kind, value in attributes(item, 0):
        if kind == 1:
            key = value[4 : int.from_bytes(value[:2], "little")]
        elif kind == 3:
            ends = bool(int.from_bytes(value, "big") & _INTERVAL_END)
        elif kind == 2:
            verdict = dict(attributes(dict(attributes(value, 0)).get(2, b""), 0))
            chain = _string(verdict.get(2, b""))
    return key, ends, chain
