"""Loading msgspec, copy, logging, pathlib and socket without what these load for needs that we do not have.

With typing_extensions come inspect, ast and more: 2 MB in each of a node's processes. From Python 3.11 on, typing has
all that msgspec asks of it. The rest is time, of which a program that runs for a moment has little: msgspec's schemas,
decimals and UUIDs, the parser that pathlib has for URIs, what logging needs to print a stack: 6 of a plugin's 40 ms.

Nothing is missing afterwards: what is held back can be imported as ever, and what was loaded without it gets it when it
asks for it. Only msgspec does not know decimals and UUIDs by themselves: they are to be given to it as text.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from functools import partial
from types import ModuleType

_OTHERS = ("copy", "logging", "pathlib", "socket")

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class _Later(ModuleType):
    """Stands for a module until something is asked of it."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(_real(self.__name__), name)


def _real(name: str) -> ModuleType:
    if isinstance(sys.modules.get(name), _Later):
        del sys.modules[name]
    import importlib  # noqa: PLC0415 - seldom needed

    return importlib.import_module(name)


def _function(module: str, name: str) -> Callable[..., Any]:
    def stands_in(*arguments: Any, **named: Any) -> Any:
        return getattr(_real(module), name)(*arguments, **named)

    return stands_in


def _of_classes(module: str, *names: str) -> ModuleType:
    found = ModuleType(module)
    for name in names:
        setattr(found, name, type(name, (), {"unknown": None}))
    return found


def _of_functions(module: str, *names: str) -> ModuleType:
    found = _Later(module)
    for name in names:
        setattr(found, name, _function(module, name))
    return found


def load(*others: str) -> None:
    """msgspec, and of copy, logging, pathlib and socket what is named; all without a name.

    Call it before anything else imports them.
    """
    if "msgspec" not in sys.modules and "typing_extensions" not in sys.modules:
        _with_stand_ins(_load_msgspec, _for_msgspec())
    _with_stand_ins(
        partial(_load_others, others or _OTHERS),
        {
            "traceback": _Later("traceback"),
            # With their failing imports of what Windows and Jython have, for which every folder of the path is read.
            "ntpath": _Later("ntpath"),
            "org": None,
            "selectors": _Later("selectors"),
            "urllib.parse": _of_functions("urllib.parse", "quote_from_bytes"),
        },
    )


def _for_msgspec() -> dict[str, ModuleType | None]:
    import _datetime  # type: ignore[import-not-found] # noqa: PLC0415 - all of datetime but for its twin in Python

    return {
        # An import of it fails.
        "typing_extensions": None,
        "datetime": _datetime,
        "decimal": _of_classes("decimal", "Decimal"),
        "uuid": _of_classes("uuid", "UUID", "SafeUUID"),
        "msgspec.inspect": _Later("msgspec.inspect"),
        "msgspec._json_schema": _of_functions("msgspec._json_schema", "schema", "schema_components"),
    }


def _with_stand_ins(work: Callable[[], None], stand_ins: dict[str, ModuleType | None]) -> None:
    placed = {name: module for name, module in stand_ins.items() if name not in sys.modules}
    sys.modules.update(placed)  # type: ignore[arg-type]
    try:
        work()
    finally:
        for name, module in placed.items():
            if sys.modules.get(name) is module:
                del sys.modules[name]


def _load_msgspec() -> None:
    import msgspec  # noqa: F401, PLC0415 - now is the time


def _load_others(names: Sequence[str]) -> None:
    for name in names:
        __import__(name)
