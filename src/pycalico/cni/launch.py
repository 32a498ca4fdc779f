"""Puts the launchers in their place: ``python -m pycalico.cni.launch DIRECTORY``."""

from __future__ import annotations

import marshal
import os
import sys
from pathlib import Path

from pycalico import __version__
from pycalico.base import bytecode
from pycalico.cni import hostfiles

NAMES = ("calico", "calico-ipam")
#: What a call imports, at its beginning or when it gets there.
MODULES = (
    "pycalico.cni.__main__",
    "pycalico.cni.plugin",
    "pycalico.cni.ipam_plugin",
    "pycalico.datastore.kubernetes.client",
    "pycalico.datastore.kubernetes.views",
    "pycalico.datastore.kubernetes.convert.node",
    "pycalico.datastore.kubernetes.convert.profile",
    "pycalico.datastore.etcd.client",
    "pycalico.datastore.tls",
    "pycalico.api.selector",
    "pycalico.base.jsonerror",
    "json",
    "shutil",
    "subprocess",
    "traceback",
    "urllib.parse",
)
#: Compiling the launcher would be 11 of the 28 million instructions of a call that the agent answers. The interpreter is
#: the one below a virtual environment: it need not find any environment.
_PROGRAM = """\
#!{python} -IS
import marshal

try:
    with open({launcher!r}, "rb") as file:
        code = marshal.load(file)
except (OSError, EOFError, ValueError, TypeError):
    print('{{"cniVersion": "0.3.1", "code": 5, "msg": "this plugin is not whole: install it again"}}')
    raise SystemExit(1)
exec(code)
"""


def source(**values: str) -> str:
    """That of the launcher with expressions of Python for its constants PATH, VERSION, CODE and BASE."""
    lines = Path(__file__).with_name("launcher.py").read_text().splitlines(keepends=True)
    for number, line in enumerate(lines):
        name, equals, value = line.partition(" = ")
        if equals and name in values and value == '""\n':
            lines[number] = f"{name} = {values[name]}\n"
    return "".join(lines)


def text(code: str = "") -> str:
    """The launcher's source for this pycalico; ``code`` is the file of byte code of the whole plugin."""
    return source(PATH=repr(":".join(bytecode.search_path())), VERSION=repr(__version__), CODE=repr(code))


def place(directory: Path, launcher: str, beside: Path) -> None:
    """The plugins for this interpreter in ``directory``; the byte code of ``launcher`` goes ``beside``. Raises OSError."""
    code = beside / f"launcher.{sys.implementation.cache_tag}.code"
    compiled = compile(launcher, "launcher.py", "exec", dont_inherit=True, optimize=2)
    hostfiles.place(code, marshal.dumps(compiled), 0o644)
    program = _PROGRAM.format(python=os.path.realpath(sys.executable), launcher=str(code))
    for name in NAMES:
        hostfiles.place(directory / name, program.encode(), 0o755)


def write(directory: Path) -> None:
    """Raises NotLoadable, OSError."""
    beside = Path(__file__).with_name("__pycache__")
    beside.mkdir(exist_ok=True)
    code = beside / f"plugin.{sys.implementation.cache_tag}.code"
    bytecode.write(code, MODULES, bytecode.search_path())
    place(directory, text(str(code)), beside)


if __name__ == "__main__":
    write(Path(sys.argv[1]))
