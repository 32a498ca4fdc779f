"""This Python as a directory that runs on any host of the same processor, whatever that host has installed.

The interpreter, the part of its library that the plugins can use, every shared library these need, and the loader of
them: the host's own C library is not touched, so its age and kind do not matter.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from pathlib import Path

from pycalico.cni.errors import CNIError

#: Of the standard library, what no plugin uses: tests, programs for people, and what needs libraries of its own.
_LEFT_OUT = frozenset(
    [
        "test",
        "tests",
        "idlelib",
        "tkinter",
        "turtledemo",
        "lib2to3",
        "ensurepip",
        "distutils",
        "pydoc_data",
        "unittest",
        "sqlite3",
        "curses",
        "dbm",
        "venv",
        "wsgiref",
        "xmlrpc",
        "site-packages",
        "dist-packages",
        "__pycache__",
        "__phello__",
        "msilib",
    ]
)
_LEFT_OUT_MODULES = (
    "_tkinter",
    "_sqlite3",
    "_curses",
    "_dbm",
    "_gdbm",
    "readline",
    "_test",
    "_xx",
    "xx",
    "nis",
    "ossaudiodev",
)
_LOADED_LATE = ("libgcc_s.so.1",)
_NEEDS = re.compile(r"^\s*(\S+) => (\S+) \(", re.MULTILINE)
_INTERPRETER_SEGMENT = 3


def copy_python(target: Path) -> str:
    """Fills ``target``; returns the file name of the loader in ``target/lib``. Raises CNIError, OSError."""
    program = Path(sys.executable).resolve()
    loader = Path(_loader_of(program))
    binary = target / "bin" / "python3"
    binary.parent.mkdir(parents=True)
    shutil.copy2(program, binary)
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    library = target / "lib" / version
    shutil.copytree(sysconfig.get_path("stdlib"), library, ignore=_ignored, symlinks=False)
    # The interpreter knows its home by this directory; some builds have their modules linked in.
    (library / "lib-dynload").mkdir(exist_ok=True)
    copy_libraries(loader, [program, *library.rglob("*.so")], target / "lib")
    _copy_late_libraries(loader, program, target / "lib")
    shutil.copy2(loader.resolve(), target / "lib" / loader.name)
    return loader.name


def copy_program(program: Path, target: Path) -> None:
    """A further program, into ``bin``, and its libraries into ``lib``. Raises CNIError, OSError."""
    shutil.copy2(program, target / "bin" / program.name)
    copy_libraries(loader_path(), [program], target / "lib")


def copy_libraries(loader: Path, objects: Iterable[Path], target: Path) -> None:
    """The shared libraries that the objects need, by the names they are needed by. Raises CNIError."""
    for item in objects:
        for name, path in _needs(loader, item):
            if not (target / name).exists():
                shutil.copy2(Path(path).resolve(), target / name)


def _copy_late_libraries(loader: Path, program: Path, target: Path) -> None:
    """The C library loads these by itself when a thread ends, and ends the process where they are missing."""
    home = next(
        (Path(path).parent for name, path in _needs(loader, program) if name.startswith("libc.so")), None
    )
    for name in _LOADED_LATE:
        if home is None or not (home / name).is_file():
            raise CNIError(f"the library {name} is missing beside the C library, so it cannot be taken along")
        shutil.copy2((home / name).resolve(), target / name)


def loader_path() -> Path:
    """The loader of the running interpreter. Raises CNIError."""
    return Path(_loader_of(Path(sys.executable).resolve()))


def _ignored(directory: str, names: list[str]) -> list[str]:
    gone = [name for name in names if name in _LEFT_OUT or name.startswith("config-")]
    if directory.endswith("lib-dynload"):
        gone += [name for name in names if name.startswith(_LEFT_OUT_MODULES)]
    return gone


def _needs(loader: Path, item: Path) -> Iterator[tuple[str, str]]:
    shown = subprocess.run(
        [str(loader), "--list", str(item)], capture_output=True, text=True, check=False, timeout=60
    )
    if "statically linked" in shown.stdout + shown.stderr or "not a dynamic" in shown.stderr:
        return
    if shown.returncode != 0 or "not found" in shown.stdout:
        said = (shown.stdout + shown.stderr).strip().splitlines()
        raise CNIError(f"{item} cannot be taken along: {said[0] if said else 'the loader refuses it'}")
    yield from _NEEDS.findall(shown.stdout)


def _loader_of(program: Path) -> str:
    """The ELF program header PT_INTERP."""
    data = program.read_bytes()
    if data[:4] != b"\x7fELF" or data[4] != 2:
        raise CNIError(f"{program} is not a 64-bit ELF program, so it cannot be taken along")
    order = "little" if data[5] == 1 else "big"

    def number(offset: int, size: int) -> int:
        return int.from_bytes(data[offset : offset + size], order)  # type: ignore[arg-type]

    table, entry, count = number(32, 8), number(54, 2), number(56, 2)
    for index in range(count):
        header = table + index * entry
        if number(header, 4) == _INTERPRETER_SEGMENT:
            start, length = number(header + 8, 8), number(header + 32, 8)
            return data[start : start + length].rstrip(b"\0").decode()
    raise CNIError(f"{program} is linked statically: there is no loader to take along")
