"""The plugins as an image carries them to hosts without Python: a tree with all they need, and small scripts in front.

``python -m pycalico.cni.hosttree DIR`` fills DIR with ``calico``, ``calico-ipam``, the standard plugins that the machine
has, and ``.pycalico/DIGEST``. The scripts find the tree beside themselves, so DIR may be copied anywhere; a new version
is a new tree, so a plugin that runs while it is replaced goes on with its own files. A host needs ``/bin/sh`` and
nothing else.
"""

from __future__ import annotations

import compileall
import hashlib
import py_compile
import shutil
import sys
import tempfile
from importlib import metadata
from pathlib import Path

import msgspec

import pycalico
from pycalico.base import bytecode
from pycalico.cni import interpreter, launch
from pycalico.cni.errors import CNIError

DIRECTORY = ".pycalico"
#: The plugins.
PROGRAMS = ("calico", "calico-ipam")
_DISTRIBUTIONS = ("msgspec", "PyYAML")
#: Plugins of others that follow ours in a list, as upstream's image has them; those on the machine are taken.
_FURTHER = ("bandwidth", "host-local", "loopback", "portmap", "tuning")
_FURTHER_PLACE = Path("/usr/lib/cni")
#: Rooms of ours that no plugin enters.
_ROOMS_LEFT_OUT = (
    "lab",
    "apiserver",
    "calicoctl",
    "felix",
    "dataplane",
    "confd",
    "bgp",
    "node",
    "controllers",
)
_LISTING = "files.json"
_CODE = "plugin.code"
#: Where the tree is, when it runs.
_HOME = '__file__.rpartition("/")[0] + "/"'
_SCRIPT = """\
#!/bin/sh
# A CNI plugin of pycalico, with the Python that it needs beside it.
home="${{0%/*}}/{directory}/{digest}"
exec "$home/lib/{loader}" --library-path "$home/lib" "$home/bin/python3" -I -S -B "$home/{name}" "$@"
"""
_FURTHER_SCRIPT = """\
#!/bin/sh
home="${{0%/*}}/{directory}/{digest}"
exec "$home/lib/{loader}" --library-path "$home/lib" "$home/bin/{name}" "$@"
"""


def build(directory: Path) -> Path:
    """Fills ``directory``; returns the tree in it. Raises CNIError, NotLoadable, OSError."""
    staged = directory / DIRECTORY / ".new"
    shutil.rmtree(staged, ignore_errors=True)
    loader = interpreter.copy_python(staged)
    packages = staged / "packages"
    _copy_own(packages)
    for name in _DISTRIBUTIONS:
        _copy_distribution(name, packages)
    interpreter.copy_libraries(interpreter.loader_path(), packages.rglob("*.so"), staged / "lib")
    further = [_FURTHER_PLACE / name for name in _FURTHER if (_FURTHER_PLACE / name).is_file()]
    for program in further:
        interpreter.copy_program(program, staged)
    # The files' times do not survive every copy; such byte code is right without them.
    compileall.compile_dir(
        staged, quiet=2, force=True, invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
        stripdir=str(staged), workers=1,
    )  # fmt: skip
    python = [
        str(staged / "lib" / loader),
        "--library-path",
        str(staged / "lib"),
        str(staged / "bin/python3"),
    ]
    bytecode.write(staged / _CODE, launch.MODULES, [str(packages)], python, staged)
    _write_launchers(staged)
    listing = msgspec.json.encode(list_files(staged))
    (staged / _LISTING).write_bytes(listing)
    digest = hashlib.sha256(listing).hexdigest()[:16]
    tree = directory / DIRECTORY / digest
    shutil.rmtree(tree, ignore_errors=True)
    staged.rename(tree)
    for name in PROGRAMS:
        text = _SCRIPT.format(directory=DIRECTORY, digest=digest, loader=loader, name=name)
        _write_script(directory / name, text)
    for program in further:
        text = _FURTHER_SCRIPT.format(directory=DIRECTORY, digest=digest, loader=loader, name=program.name)
        _write_script(directory / program.name, text)
    return tree


def install(source: Path, target: Path) -> bool:
    """Copies the newest tree of ``source`` (a plugin directory) into another; False when it was there already.

    It is there as a whole or not at all; the one that was newest before stays for plugins that still run. Raises OSError.
    """
    tree = newest(source)
    if tree is None:
        raise CNIError(f"{source / DIRECTORY} has no tree of the plugins: the image is not whole")
    place = target / DIRECTORY / tree.name
    if is_whole(place):
        return False
    staged = target / DIRECTORY / f".{tree.name}.new"
    shutil.rmtree(staged, ignore_errors=True)
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(tree, staged, symlinks=True)
    staged.rename(place)
    if not is_whole(place):
        raise CNIError(f"Failed to verify {place}: look at the disk, then start the pod again")
    return True


def prune(directory: Path, keep: str) -> None:
    """Removes what older versions left, but for the newest of them."""
    others = [path for path in _trees(directory) if path.name != keep]
    for old in others[:-1]:
        shutil.rmtree(old, ignore_errors=True)


def newest(directory: Path) -> Path | None:
    """The tree made last in a plugin directory."""
    return next(reversed(_trees(directory)), None)


def is_whole(tree: Path) -> bool:
    """Whether every file is there with the content it was built with."""
    try:
        listed = msgspec.json.decode((tree / _LISTING).read_bytes(), type=dict[str, str])
        return all(_digest(tree / name) == digest for name, digest in listed.items())
    except (OSError, msgspec.DecodeError):
        return False


def list_files(tree: Path) -> dict[str, str]:
    return {str(path.relative_to(tree)): _digest(path) for path in sorted(tree.rglob("*")) if path.is_file()}


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _write_launchers(tree: Path) -> None:
    """The interpreter runs a file of byte code as it does one of source, but need not compile it."""
    launcher = launch.source(
        PATH=f'{_HOME} + "packages"',
        VERSION=repr(pycalico.__version__),
        CODE=f"{_HOME} + {_CODE!r}",
        BASE=_HOME,
    )
    with tempfile.TemporaryDirectory() as folder:
        text = Path(folder, "launcher.py")
        text.write_text(launcher)
        for name in PROGRAMS:
            py_compile.compile(
                str(text), str(tree / name), "launcher.py", doraise=True, optimize=2,
                invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
            )  # fmt: skip


def _write_script(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o755)


def _trees(directory: Path) -> list[Path]:
    """Oldest first."""
    place = directory / DIRECTORY
    found = [path for path in place.iterdir() if path.name[0] != "."] if place.is_dir() else []
    return sorted(found, key=lambda path: path.stat().st_mtime)


def _copy_own(packages: Path) -> None:
    source = Path(pycalico.__file__).parent
    left_out = {source / room for room in _ROOMS_LEFT_OUT}

    def ignored(directory: str, names: list[str]) -> list[str]:
        return [name for name in names if name == "__pycache__" or Path(directory) / name in left_out]

    shutil.copytree(source, packages / "pycalico", ignore=ignored)


def _copy_distribution(name: str, packages: Path) -> None:
    for item in metadata.distribution(name).files or ():
        if ".." in item.parts or item.suffix == ".pyc" or item.parts[0].endswith(".dist-info"):
            continue
        target = packages / item
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(item.locate(), target)


def main() -> int:
    try:
        tree = build(Path(sys.argv[1]))
    except IndexError:
        print("usage: python -m pycalico.cni.hosttree DIRECTORY", file=sys.stderr)
        return 2
    except (CNIError, bytecode.NotLoadable, OSError, metadata.PackageNotFoundError) as error:
        print(f"hosttree: {error}", file=sys.stderr)
        return 1
    print(tree)
    return 0


if __name__ == "__main__":
    sys.exit(main())
