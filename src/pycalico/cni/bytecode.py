"""The byte code of all that a call of the plugin loads, side by side in one file.

A plugin that has no agent to ask mostly loads modules, 160 of them. From one file, without docstrings and without a search
through directories for each, they take a sixth less. ``finder`` reads it, ``launcher`` looks whether it fits.

The file: a line, ``pycalico 1 PYTHON LENGTH SIZE``; LENGTH bytes of marshal, the finder's code and its index; the modules'
code. PYTHON is ``sys.hexversion``, SIZE that of the whole file.
"""

from __future__ import annotations

import json
import marshal
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import CodeType

from pycalico.cni import finder, hostfiles
from pycalico.cni.errors import CNIError

#: What a call imports, at its beginning or when it gets there.
_LOADS = """
import sys
sys.path[:0] = sys.argv[1:]
from pycalico.base import lean
lean.load()
import pycalico.cni.__main__, pycalico.cni.plugin, pycalico.cni.ipam_plugin
import pycalico.datastore.kubernetes.client, pycalico.datastore.kubernetes.views, pycalico.datastore.etcd.client
import pycalico.datastore.kubernetes.convert.profile, pycalico.datastore.kubernetes.convert.node
import ssl, subprocess, shutil, traceback, json
specs = [getattr(module, "__spec__", None) for module in list(sys.modules.values())]
print(json.dumps({spec.name: spec.origin for spec in specs if spec is not None and spec.has_location}))
"""


def write(path: Path, places: Sequence[str], python: Sequence[str] = (), base: Path | None = None) -> None:
    """For the interpreter ``python`` (this one), with ``places`` before its own library. Raises CNIError, OSError.

    With ``base`` the modules are looked for relative to it, and taken to stay as they are now.
    """
    index: dict[str, finder.Entry] = {}
    codes: list[bytes] = []
    begin = 0
    for name, origin in _modules(places, python or [os.path.realpath(sys.executable)]):
        found = origin.stat()
        place = str(origin.relative_to(base)) if base else str(origin)
        code = b"" if origin.suffix == ".so" else _code(origin, place)
        version = (0, 0) if base else (found.st_mtime_ns, found.st_size)
        index[name] = (begin, len(code), place, origin.name == "__init__.py", *version)
        codes.append(code)
        begin += len(code)
    head = marshal.dumps((_compiled(Path(finder.__file__), "<finder>"), index))
    size = len(first_line(0, 0)) + len(head) + begin
    hostfiles.place(path, b"".join([first_line(len(head), size), head, *codes]), 0o644)


def first_line(length: int, size: int) -> bytes:
    """Always equally long."""
    return b"pycalico 1 %08x %010d %010d\n" % (sys.hexversion, length, size)


def _code(origin: Path, place: str) -> bytes:
    return marshal.dumps(_compiled(origin, place))


def _compiled(source: Path, shown: str) -> CodeType:
    """Without docstrings and assertions: nothing in a plugin reads the ones or needs the others."""
    return compile(source.read_bytes(), shown, "exec", dont_inherit=True, optimize=2)


def _modules(places: Sequence[str], python: Sequence[str]) -> list[tuple[str, Path]]:
    """Isolated as the plugin is, so that it is told of the modules that the plugin will find."""
    done = subprocess.run(
        [*python, "-I", "-S", "-B", "-c", _LOADS, *places], capture_output=True, text=True, check=False
    )
    if done.returncode:
        said = done.stderr.strip().rpartition("\n")[2]
        raise CNIError(f"the plugin's modules cannot be loaded: {said}")
    found = ((name, Path(origin)) for name, origin in json.loads(done.stdout).items())
    return [(name, origin) for name, origin in found if origin.suffix in (".py", ".so")]
