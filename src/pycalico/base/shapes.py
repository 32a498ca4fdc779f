"""Decoders for threads that start together.

msgspec (0.22) learns a type's shape when it is first used; two threads that do so at one time crash the process (seen
as SIGSEGV in one start of Felix in sixty, whose feeds share types). So shapes are learned one after the other.
"""

from __future__ import annotations

from _thread import allocate_lock
from typing import TypeVar

import msgspec

T = TypeVar("T")

_learning = allocate_lock()
_known: set[object] = set()


def decoder(kind: type[T]) -> msgspec.json.Decoder[T]:
    with _learning:
        return msgspec.json.Decoder(kind)


def decode(data: bytes | str | msgspec.Raw, kind: type[T]) -> T:
    """Raises msgspec.DecodeError."""
    if kind not in _known:
        decoder(kind)
        _known.add(kind)
    return msgspec.json.decode(data, type=kind)
