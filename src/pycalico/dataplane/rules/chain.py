"""Chains and the hashes of their rules."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Iterator, Sequence

import msgspec

_JUMPS = ("--jump", "--goto", "--in-interface-map", "--out-interface-map", "--port-map")


class Chain(msgspec.Struct, frozen=True):
    """A chain and its rules' text, in order.

    Where the rendering is native, a name that begins with ``@`` is that of a map, and each of its rules is an entry.
    """

    name: str
    rules: tuple[str, ...] = ()


def hash_ids(chain: str, rules: Sequence[str]) -> tuple[str, ...]:
    """The identifier of each rule, 16 characters: a SHA-224 chain over the chain's name and the rules' text.

    So a rule's identifier also tells that all rules before it are as they should be.
    """
    digest = hashlib.sha224(chain.encode()).digest()
    found = []
    for text in rules:
        line = f"-A {chain} HASH {text}" if text else f"-A {chain} HASH"
        digest = hashlib.sha224(digest + line.encode()).digest()
        found.append(base64.urlsafe_b64encode(digest)[:16].decode())
    return tuple(found)


def programmed(rule_id: str, text: str) -> str:
    """What iptables-restore is given after the chain's name."""
    marked = f'-m comment --comment "cali:{rule_id}"'
    return f"{marked} {text}" if text else marked


def target(text: str) -> str:
    """The chain (or action) that a rule jumps or goes to; empty when it has none as its last word."""
    words = text.rsplit(" ", 2)
    # A quote at the end means that the words stand in a comment.
    return words[-1] if len(words) > 1 and words[-2] in _JUMPS and words[-1][-1:] != '"' else ""


def targets(rules: Iterable[str]) -> Iterator[str]:
    for text in rules:
        name = target(text)
        if name:
            yield name
