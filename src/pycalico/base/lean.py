"""Loading msgspec without what it would load for our annotations' sake and does not need.

With typing_extensions come inspect, ast and more: 2 MB in each of a node's processes. From Python 3.11 on, typing has
all that msgspec asks of it. It also wants uuid, which loads platform (2 ms of a program's 30) to ask which system this is.
"""

from __future__ import annotations

import os
import sys
from types import ModuleType


def load() -> None:
    """Call it before anything imports msgspec; what is held back can be imported as ever afterwards."""
    name = "typing_extensions"
    if "msgspec" in sys.modules or name in sys.modules:
        return
    sys.modules[name] = None  # type: ignore[assignment] # has an import of it fail
    stands_in = "platform" not in sys.modules
    if stands_in:
        sys.modules["platform"] = _platform()
    try:
        import msgspec  # noqa: F401, PLC0415 - now is the time
    finally:
        del sys.modules[name]
        if stands_in:
            del sys.modules["platform"]


def _platform() -> ModuleType:
    module = ModuleType("platform")
    module.system = lambda: os.uname().sysname  # type: ignore[attr-defined]
    return module
