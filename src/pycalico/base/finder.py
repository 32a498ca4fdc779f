"""Finds modules in the one file that ``bytecode`` wrote: a program whose life is short runs this before it imports anything.

It uses what is built into the interpreter, and imports nothing: not even ``__future__``. A module whose source has changed
since, and one that the file does not hold, is left to the usual finders.
"""

import marshal
import posix
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from importlib.machinery import ModuleSpec
    from types import CodeType, ModuleType
    from typing import Any

#: Of each module: where its code begins and how long it is (0: a shared object), where its source is, whether it is a
#: package, and the time (ns) and size of its source (0 where it cannot change).
Entry = tuple[int, int, str, bool, int, int]
#: As long as the file's first line is.
_LINE = 42


def first_line(length: int, size: int) -> bytes:
    """``length`` is that of the index, ``size`` that of the whole file."""
    return b"pycalico 1 %08x %010d %010d\n" % (sys.hexversion, length, size)


def use(path: str, base: str = "") -> None:
    """Modules are looked for in ``path`` from now on; ``base`` goes before the places in it.

    Without effect where there is no such file, or it is another Python's, or not whole.
    """
    try:
        file = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC)
    except OSError:
        return
    line = posix.read(file, _LINE)
    words = line.split()
    mine = len(line) == _LINE and words[:3] == first_line(0, 0).split()[:3]
    if not mine or posix.fstat(file).st_size != int(words[4]):
        posix.close(file)
        return
    length = int(words[3])
    index = marshal.loads(posix.read(file, length))  # noqa: S302 - ours, as a .pyc
    # Before the finder of files, behind those of what the interpreter has in itself.
    sys.meta_path.insert(2, Finder(file, _LINE + length, index, base))


class Finder:
    """A finder and loader for ``sys.meta_path``. Codes begin at ``start``; ``base`` goes before each path."""

    def __init__(self, file: int, start: int, index: dict[str, Entry], base: str) -> None:
        self._file, self._start, self._index, self._base = file, start, index, base
        # The import system itself; ``importlib`` would be one more import.
        self._specs: Any = sys.modules["_frozen_importlib"]
        self._files: Any = sys.modules["_frozen_importlib_external"]

    def find_spec(self, name: str, path: object = None, target: object = None) -> "ModuleSpec | None":  # noqa: ARG002
        entry = self._index.get(name)
        if entry is None:
            return None
        _, length, place, is_package, time_ns, size = entry
        place = self._base + place
        if time_ns:
            try:
                found = posix.stat(place)
            except OSError:
                return None
            if found.st_mtime_ns != time_ns or found.st_size != size:
                return None
        if not length:
            shared: ModuleSpec = self._files.spec_from_file_location(
                name, loader=self._files.ExtensionFileLoader(name, place)
            )
            return shared
        spec: ModuleSpec = self._specs.ModuleSpec(name, self, origin=place, is_package=is_package)
        spec.has_location = True
        if spec.submodule_search_locations is not None:
            spec.submodule_search_locations.append(place.rpartition("/")[0])
        return spec

    @staticmethod
    def create_module(spec: "ModuleSpec") -> None:
        """The usual kind of module."""

    def get_code(self, name: str) -> "CodeType":
        begin, length = self._index[name][:2]
        code: CodeType = marshal.loads(posix.pread(self._file, length, self._start + begin))  # noqa: S302 - as a .pyc
        return code

    def exec_module(self, module: "ModuleType") -> None:
        exec(self.get_code(module.__name__), module.__dict__)  # noqa: S102 - what importing is
