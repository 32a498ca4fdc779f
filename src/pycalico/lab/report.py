"""What ``pycalico lab up`` and ``status`` print: nodes, BGP sessions, pods, and what to type next."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

from pycalico.lab import enter, plan, scheduler
from pycalico.lab.cluster import Cluster
from pycalico.lab.lab import Lab

#: Verbs of ``pycalico lab``, and what follows its options.
_NEXT = (
    ("exec", " k8s-m -- calicoctl node status"),
    ("exec", " k8s-m -- calicoctl ipam show --show-blocks"),
    ("exec", " k8s-w0 -- iptables -t filter -S"),
    ("exec", " k8s-w1 -- bash"),
    ("walkthrough", ""),
    ("down", ""),
)


def console() -> Console:
    """Colours only on a terminal; wide enough for the tables, which a narrow terminal folds by itself."""
    return Console(highlight=False, soft_wrap=True, width=max(140, shutil.get_terminal_size().columns))


def show(console: Console, lab: Lab, cluster: Cluster) -> None:
    console.print(_nodes(cluster))
    console.print(_sessions(lab))
    console.print(_pods(cluster))
    console.print("What to type next:")
    for line in _to_type(lab.name):
        console.print(f"  {line}", highlight=False, soft_wrap=True)


def _to_type(name: str) -> list[str]:
    """Commands as this shell finds them."""
    program = "pycalico"
    if shutil.which(program) is None:
        beside = Path(sys.executable).with_name(program)
        program = str(beside.relative_to(Path.cwd()) if beside.is_relative_to(Path.cwd()) else beside)
    which = "" if name == plan.NAME else f" --name {name}"
    return [f"{program} lab {verb}{which}{rest}" for verb, rest in _NEXT]


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
    for column in columns:
        table.add_column(column, no_wrap=True)
    return table


def _nodes(cluster: Cluster) -> Table:
    table = _table("Nodes", "NAME", "ADDRESS", "POD CIDR", "TUNNEL ADDRESS", "READY")
    by_name = {item["metadata"]["name"]: item for item in cluster.list("Node")}
    for node in plan.NODES:
        item = by_name.get(node.name)
        if item is None:
            continue
        notes = item["metadata"].get("annotations") or {}
        tunnel = next((notes[key] for key in _TUNNEL if notes.get(key)), "-")
        ready = "yes" if scheduler.is_ready(item) else "no"
        table.add_row(node.name, node.address, item["spec"].get("podCIDR", "-"), tunnel, ready)
    return table


_TUNNEL = ("projectcalico.org/IPv4IPIPTunnelAddr", "projectcalico.org/IPv4VXLANTunnelAddr")


def _sessions(lab: Lab) -> Table:
    table = _table("BGP sessions", "NODE", "SESSION", "STATE", "SINCE", "INFO")
    for node in plan.NODES:
        command = lab.command(node.name, ["birdc", "-s", "/var/run/calico/bird.ctl", "show", "protocols"])
        shown = subprocess.run(command, env=enter.environment(), capture_output=True, text=True, check=False)
        for line in shown.stdout.splitlines():
            words = line.split()
            if len(words) >= 5 and words[1] == "BGP":
                table.add_row(node.name, words[0], words[3], words[4], " ".join(words[5:]))
    return table


def _pods(cluster: Cluster) -> Table:
    table = _table("Pods", "NAMESPACE", "NAME", "NODE", "IP", "READY", "STATUS")
    for pod in cluster.list("Pod"):
        status = pod.get("status", {})
        parts = status.get("containerStatuses") or []
        ready = f"{sum(one['ready'] for one in parts)}/{len(pod['spec']['containers'])}"
        where = pod["spec"].get("nodeName", "-")
        meta = pod["metadata"]
        table.add_row(
            meta["namespace"],
            meta["name"],
            where,
            status.get("podIP", "-"),
            ready,
            status.get("phase", "Pending"),
        )
    return table
