"""The process's name in ``ps``: ``calico-node -confd`` rather than the interpreter and a path.

Tools look for it (``calicoctl node status`` wants argv[0] ``calico-node``, argv[1] ``-felix``). The kernel shows
the memory that the arguments came in, between two addresses of /proc/self/stat; it is overwritten in place, and
the end moved up so that nothing of the old text follows. Where that is not allowed the old name stays.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Sequence
from pathlib import Path

_PR_SET_MM = 35
_PR_SET_MM_ARG_END = 9
_ARG_START_FIELD = 48


def become(name: str, arguments: Sequence[str]) -> bool:
    """Shows ``name`` and ``arguments``; tells whether it worked. Call it once, early: later readers of
    ``/proc/self/cmdline`` see the new text.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        Path("/proc/self/comm").write_text(name[:15])
        stat = Path("/proc/self/stat").read_text()
        fields = stat[stat.rindex(")") + 2 :].split()
        start, end = (int(fields[number - 3]) for number in (_ARG_START_FIELD, _ARG_START_FIELD + 1))
        text = b"".join(word.encode() + b"\0" for word in (name, *arguments))
        if start == 0 or len(text) > end - start:
            return False
        ctypes.memmove(start, text + b"\0" * (end - start - len(text)), end - start)
        libc = ctypes.CDLL(None, use_errno=True)
        libc.prctl(
            _PR_SET_MM, ctypes.c_ulong(_PR_SET_MM_ARG_END), ctypes.c_ulong(start + len(text)),
            ctypes.c_ulong(0), ctypes.c_ulong(0),
        )  # fmt: skip
    except (OSError, ValueError, IndexError):
        return False
    return True
