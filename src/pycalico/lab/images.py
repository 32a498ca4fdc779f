"""What an image name means where there are no images: a program of this machine.

An image names its entrypoint; a container's own ``command`` replaces it, its ``args`` follow. A command that is not on
the machine but is one of busybox's applets runs as such.
"""

from __future__ import annotations

import functools
import shutil
import subprocess

from pycalico.lab.cluster import Object

#: Image without registry and tag → entrypoint.
ENTRYPOINTS: dict[str, list[str]] = {
    "pycalico/node": ["pycalico", "node", "run"],
    "pycalico/cni": ["calico", "install"],
    "pycalico/kube-controllers": ["calico-kube-controllers"],
    "busybox": ["sh"],
}


class UnknownImage(Exception):
    """The image maps to no program here, or its command is not on this machine."""


def argv(container: Object, path: str) -> list[str]:
    """The words to run; ``path`` is where programs are looked up. Raises UnknownImage."""
    image = str(container.get("image", ""))
    words = list(container.get("command") or ENTRYPOINTS.get(_bare(image), []))
    if not words:
        known = ", ".join(sorted(ENTRYPOINTS))
        raise UnknownImage(f'image "{image}" has no program in the lab: give a command, or use one of {known}')
    words += container.get("args") or []
    if not shutil.which(words[0], path=path):
        if words[0] not in _applets():
            raise UnknownImage(f'command "{words[0]}" of image "{image}" is not on this machine')
        words.insert(0, "busybox")
    return words


def _bare(image: str) -> str:
    """``docker.io/library/busybox:1.36`` → ``busybox``."""
    name = image.partition("@")[0]
    if ":" in name.rpartition("/")[2]:
        name = name.rpartition(":")[0]
    for prefix in ("docker.io/", "library/"):
        name = name.removeprefix(prefix)
    return name


@functools.cache
def _applets() -> frozenset[str]:
    shown = subprocess.run(["busybox", "--list"], capture_output=True, text=True, check=False)
    return frozenset(shown.stdout.split())
