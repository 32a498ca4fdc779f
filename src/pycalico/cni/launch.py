"""Puts the launchers in their place: ``python -m pycalico.cni.launch DIRECTORY``."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import msgspec
import yaml

import pycalico
from pycalico import __version__
from pycalico.cni import bytecode, hostfiles

NAMES = ("calico", "calico-ipam")


def text(code: str = "") -> str:
    """The launcher for this interpreter and this pycalico; ``code`` is its file of byte code."""
    lines = Path(__file__).with_name("launcher.py").read_text().splitlines(keepends=True)
    # The interpreter below a virtual environment: it need not find any environment.
    lines.insert(0, f"#!{os.path.realpath(sys.executable)} -IS\n")
    values = {"PATH": ":".join(_places()), "VERSION": __version__, "CODE": code}
    for number, line in enumerate(lines):
        name, equals, value = line.partition(" = ")
        if equals and name in values and value == '""\n':
            lines[number] = f'{name} = "{values[name]}"\n'
    return "".join(lines)


def _places() -> list[str]:
    found = [str(Path(module.__file__).parents[1]) for module in (pycalico, msgspec, yaml) if module.__file__]
    return list(dict.fromkeys(found))


def write(directory: Path) -> None:
    """Raises CNIError, OSError."""
    code = Path(__file__).with_name("__pycache__") / f"plugin.{sys.implementation.cache_tag}.code"
    code.parent.mkdir(exist_ok=True)
    bytecode.write(code, _places())
    for name in NAMES:
        hostfiles.place(directory / name, text(str(code)).encode(), 0o755)


if __name__ == "__main__":
    write(Path(sys.argv[1]))
