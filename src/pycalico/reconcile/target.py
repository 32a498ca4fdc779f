"""What the reconciler needs to know of a thing it keeps: how to read it and how to write it."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from typing import Generic, Protocol, TypeVar

import msgspec

K = TypeVar("K")
V = TypeVar("V")
H = TypeVar("H")
K_contra = TypeVar("K_contra", contravariant=True)
V_contra = TypeVar("V_contra", contravariant=True)


class TargetError(Exception):
    """The target as a whole could not be read or written; one line for people."""


class Outcome(msgspec.Struct, Generic[K, H]):
    """What an application of changes came to.

    ``now`` holds what is there after each put that succeeded; ``failures`` the reason of each key that failed.
    A key deleted with success is in neither.
    """

    now: Mapping[K, H]
    failures: Mapping[K, str] = {}


class Target(Protocol[K, V_contra, H]):
    """``V`` is what is wished, ``H`` what is seen; for many targets they are the same type."""

    def read(self) -> Mapping[K, H]:
        """All that is ours and nothing else, as a process without memory can tell. Raises TargetError."""
        ...

    def same(self, want: V_contra, have: H) -> bool: ...

    def apply(self, puts: Mapping[K, V_contra], deletes: AbstractSet[K]) -> Outcome[K, H]:
        """Raises TargetError when nothing is known to have been done; what is there must then be read again."""
        ...
