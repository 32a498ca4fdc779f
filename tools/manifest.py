"""Brings deploy/pycalico.yaml up to date with the code: its definitions and the version of its image.

``python tools/manifest.py`` writes the file; with ``--check`` it only says whether it would.
"""

import re
import sys
from pathlib import Path

import yaml

from pycalico import __version__
from pycalico.datastore.kubernetes.crds import crds

MANIFEST = Path(__file__).parents[1] / "deploy" / "pycalico.yaml"
BEGIN, END = "# >>> definitions\n", "# <<< definitions\n"


def renewed(text: str) -> str:
    """Raises ValueError when the marks are not there."""
    head, _, rest = text.partition(BEGIN)
    if END not in rest:
        raise ValueError(f"{MANIFEST}: the marks around the definitions are missing")
    tail = rest.partition(END)[2]
    definitions = yaml.safe_dump_all(crds(), sort_keys=False)
    tail = re.sub(r"(image: pycalico/pycalico):\S+", rf"\1:v{__version__}", tail)
    return f"{head}{BEGIN}---\n{definitions}{END}{tail}"


def main() -> None:
    present = MANIFEST.read_text()
    wanted = renewed(present)
    if present == wanted:
        return
    if sys.argv[1:] == ["--check"]:
        sys.exit(f"{MANIFEST} is not up to date: run 'make manifest'")
    MANIFEST.write_text(wanted)
    print(f"wrote {MANIFEST}")


if __name__ == "__main__":
    main()
