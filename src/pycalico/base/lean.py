"""Loading msgspec without what it would load for our annotations' sake and does not need.

With typing_extensions come inspect, ast and more: 2 MB in each of a node's processes. From Python 3.11 on, typing has
all that msgspec asks of it.
"""

from __future__ import annotations

import sys


def load() -> None:
    """Call it before anything imports msgspec; typing_extensions can be imported as ever afterwards."""
    name = "typing_extensions"
    if "msgspec" in sys.modules or name in sys.modules:
        return
    sys.modules[name] = None  # type: ignore[assignment] # has an import of it fail
    try:
        import msgspec  # noqa: F401, PLC0415 - now is the time
    finally:
        del sys.modules[name]
