"""How to run a command inside a node: the namespaces to join and the environment a login there has."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from pathlib import Path

#: Where a node finds the credentials of the cluster's administrator, as kubeadm places them.
ADMIN_CONF = "/etc/kubernetes/admin.conf"

_SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_KEPT = ("TERM", "LANG", "LC_ALL", "COLUMNS", "LINES", "TZ")


class NoSuchNode(Exception):
    """The lab is not up, or has no node of that name."""


def programs() -> str:
    """The directory of the project's own programs."""
    return str(Path(sys.executable).parent)


def environment(extra: dict[str, str] | None = None) -> dict[str, str]:
    """What a command in a node starts with; of the caller's own environment only terminal settings stay."""
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    return {
        "PATH": f"{programs()}:{_SYSTEM_PATH}",
        "HOME": "/root",
        "KUBECONFIG": ADMIN_CONF,
        "DATASTORE_TYPE": "kubernetes",
        "SVDIR": "/etc/service/enabled",
        **kept,
        **(extra or {}),
    }


def node_pid(state_dir: Path, node: str) -> int:
    """The first process of the node, as its machine numbers it. Raises NoSuchNode."""
    try:
        nodes = json.loads((state_dir / "nodes.json").read_text())
    except (OSError, ValueError) as error:
        raise NoSuchNode(f"no lab is up at {state_dir}: run 'make lab' first") from error
    if node not in nodes:
        raise NoSuchNode(f"no node {node!r} in this lab; there are {', '.join(sorted(nodes))}")
    return int(nodes[node])


def pod_netns(uid: str) -> str:
    """The name of a pod's network namespace on its node."""
    return f"cni-{hashlib.sha256(uid.encode()).hexdigest()[:16]}"


def command(pid: int, argv: list[str], *, netns: str = "") -> list[str]:
    """``argv`` wrapped so that it runs in the node's namespaces (``netns``: another network namespace's file)."""
    net = f"--net={netns}" if netns else "--net"
    return ["nsenter", f"--target={pid}", "--mount", "--uts", "--ipc", "--pid", net, "--wdns=/", "--", *argv]
