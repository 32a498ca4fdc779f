"""What an image name means where there are no images: a program of this machine.

An image names its entrypoint and arguments; a container's own ``command`` and ``args`` replace them. A command that is not on
the machine but is one of busybox's applets runs as such.
"""

from __future__ import annotations

import functools
import shutil
import subprocess
from typing import NamedTuple

from pycalico.lab.cluster import Object


class Program(NamedTuple):
    """``entrypoint`` always runs; ``arguments`` are the default of a container without ``args``."""

    entrypoint: list[str]
    arguments: list[str]


#: By image without registry and tag.
PROGRAMS = {
    "pycalico/node": Program(["pycalico", "node", "run"], []),
    "pycalico/cni": Program(["calico", "install"], []),
    "pycalico/kube-controllers": Program(["calico-kube-controllers"], []),
    # The one image of deploy/: every container says itself what it runs.
    "pycalico/pycalico": Program(["pycalico", "node", "run"], []),
    "busybox": Program([], ["sh"]),
}
#: Where the images of a node have their programs, upstream's and ours.
_PLACES = {
    "/opt/cni/bin/install": ["calico", "install"],
    "/opt/cni/bin/calico-ipam": ["calico-ipam"],
    "/bin/calico-node": ["calico-node"],
    "/usr/bin/calico-node": ["calico-node"],
    "/usr/bin/kube-controllers": ["calico-kube-controllers"],
    "/usr/bin/check-status": ["check-status"],
    "/calicoctl": ["calicoctl"],
    "start_runit": ["pycalico", "node", "run"],
}


class UnknownImage(Exception):
    """The image maps to no program here, or its command is not on this machine."""


def argv(container: Object, path: str) -> list[str]:
    """The words to run; ``path`` is where programs are looked up. Raises UnknownImage."""
    image = str(container.get("image", ""))
    program = PROGRAMS.get(_bare(image), Program([], []))
    command, arguments = container.get("command"), container.get("args")
    # As a container runtime has it: a given command drops the image's arguments too.
    words = [
        *(here(command or []) or program.entrypoint),
        *(arguments or ([] if command else program.arguments)),
    ]
    if not command and _bare(image) not in PROGRAMS:
        known = ", ".join(sorted(PROGRAMS))
        raise UnknownImage(
            f'image "{image}" has no program in the lab: give a command, or use one of {known}'
        )
    if not shutil.which(words[0], path=path):
        if words[0] not in _applets():
            raise UnknownImage(f'command "{words[0]}" of image "{image}" is not on this machine')
        words.insert(0, "busybox")
    return words


def here(command: list[str]) -> list[str]:
    """A command, or a probe's, with the program of this machine that the image has at that place."""
    return [*_PLACES.get(command[0], command[:1]), *command[1:]] if command else []


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
