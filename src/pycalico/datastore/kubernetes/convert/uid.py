"""The uid of a v3 object is the CRD object's with the bits of most bytes reversed, so that the two never meet.

Bytes 6 and 8 carry a UUID's version and variant and stay. The function is its own inverse.
"""

from __future__ import annotations

import uuid

_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
_KEPT = (6, 8)


def reverse(uid: str) -> str:
    """The other side's uid; text that is no UUID is returned as it is."""
    try:
        raw = uuid.UUID(uid).bytes
    except ValueError:
        return uid
    return str(uuid.UUID(bytes=bytes(b if i in _KEPT else _REVERSED[b] for i, b in enumerate(raw))))
