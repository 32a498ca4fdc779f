"""Puts the launchers in their place: ``python -m pycalico.cni.launch DIRECTORY``."""

from __future__ import annotations

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
    "json",
    "shutil",
    "ssl",
    "subprocess",
    "traceback",
)


def text(code: str = "") -> str:
    """The launcher for this interpreter and this pycalico; ``code`` is its file of byte code."""
    lines = Path(__file__).with_name("launcher.py").read_text().splitlines(keepends=True)
    # The interpreter below a virtual environment: it need not find any environment.
    lines.insert(0, f"#!{os.path.realpath(sys.executable)} -IS\n")
    values = {"PATH": ":".join(bytecode.search_path()), "VERSION": __version__, "CODE": code}
    for number, line in enumerate(lines):
        name, equals, value = line.partition(" = ")
        if equals and name in values and value == '""\n':
            lines[number] = f'{name} = "{values[name]}"\n'
    return "".join(lines)


def write(directory: Path) -> None:
    """Raises NotLoadable, OSError."""
    code = Path(__file__).with_name("__pycache__") / f"plugin.{sys.implementation.cache_tag}.code"
    code.parent.mkdir(exist_ok=True)
    bytecode.write(code, MODULES, bytecode.search_path())
    for name in NAMES:
        hostfiles.place(directory / name, text(str(code)).encode(), 0o755)


if __name__ == "__main__":
    write(Path(sys.argv[1]))
