"""The byte code of all that a program loads, side by side in one file.

A program that runs for a moment mostly loads modules, 140 of them in a plugin without its agent. From one file, without
docstrings and without a search through directories for each, they take a sixth less. ``finder`` reads it.

The file: a line, ``pycalico 1 PYTHON LENGTH SIZE``; LENGTH bytes of marshal, the index; the modules' code. PYTHON is
``sys.hexversion``, SIZE that of the whole file.
"""

from __future__ import annotations

import importlib.util
import json
import marshal
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import CodeType

from pycalico.base import finder

#: In an interpreter as isolated as the program's, so that it finds the modules that the program will find.
_LOADED = """
import json, sys
places, names = json.loads(sys.argv[1])
sys.path[:0] = places
from pycalico.base import lean
lean.load()
import importlib
for name in names: importlib.import_module(name)
specs = [getattr(module, "__spec__", None) for module in list(sys.modules.values())]
print(json.dumps({spec.name: spec.origin for spec in specs if spec is not None and spec.has_location}))
"""


class NotLoadable(Exception):
    """A module of the program cannot be imported: one line."""


def search_path() -> list[str]:
    """The directories of pycalico and of the packages that its small programs need."""
    specs = map(importlib.util.find_spec, ("pycalico", "msgspec", "yaml"))
    found = [str(Path(spec.origin).parents[1]) for spec in specs if spec is not None and spec.origin]
    return list(dict.fromkeys(found))


def write(
    path: Path,
    names: Sequence[str],
    places: Sequence[str],
    python: Sequence[str] = (),
    base: Path | None = None,
) -> None:
    """Byte code of the modules ``names`` and all that they import, with ``places`` before the library of ``python``.

    ``python`` is a command, this interpreter where none is given. With ``base`` the modules are looked for relative to it,
    and taken to stay as they are now. Raises NotLoadable, OSError.
    """
    index: dict[str, finder.Entry] = {}
    codes: list[bytes] = []
    begin = 0
    for name, origin in _modules(names, places, python or [os.path.realpath(sys.executable)]):
        found = origin.stat()
        place = str(origin.relative_to(base)) if base else str(origin)
        code = b"" if origin.suffix == ".so" else marshal.dumps(_compiled(origin, place))
        version = (0, 0) if base else (found.st_mtime_ns, found.st_size)
        index[name] = (begin, len(code), place, origin.name == "__init__.py", *version)
        codes.append(code)
        begin += len(code)
    head = marshal.dumps(index)
    size = len(finder.first_line(0, 0)) + len(head) + begin
    staged = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        staged.write_bytes(b"".join([finder.first_line(len(head), size), head, *codes]))
        staged.replace(path)
    finally:
        staged.unlink(missing_ok=True)


def _compiled(source: Path, shown: str) -> CodeType:
    """Without docstrings and assertions: nothing that runs for a moment reads the ones or needs the others."""
    return compile(source.read_bytes(), shown, "exec", dont_inherit=True, optimize=2)


def _modules(names: Sequence[str], places: Sequence[str], python: Sequence[str]) -> list[tuple[str, Path]]:
    given = json.dumps([list(places), list(names)])
    done = subprocess.run(
        [*python, "-I", "-S", "-B", "-c", _LOADED, given], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise NotLoadable(f"modules cannot be loaded: {done.stderr.strip().rpartition(chr(10))[2]}")
    found = ((name, Path(origin)) for name, origin in json.loads(done.stdout).items())
    return [(name, origin) for name, origin in found if origin.suffix in (".py", ".so")]
