"""The uid of a v3 object is the CRD object's with the bits of most bytes reversed, so that the two never meet.

Bytes 6 and 8 carry a UUID's version and variant and stay. The function is its own inverse. The module uuid would do the
reading and the printing, and take 2 of a plugin's 50 ms to load.
"""

from __future__ import annotations

_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
_KEPT = (6, 8)
_SIZE = 16


def reverse(uid: str) -> str:
    """The other side's uid; text that is no UUID is returned as it is."""
    digits = uid.removeprefix("urn:uuid:").strip("{}").replace("-", "")
    try:
        raw = bytes.fromhex(digits)
    except ValueError:
        return uid
    if len(raw) != _SIZE or len(digits) != 2 * _SIZE:
        return uid
    other = bytearray(raw.translate(_REVERSED))
    for place in _KEPT:
        other[place] = raw[place]
    text = other.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
