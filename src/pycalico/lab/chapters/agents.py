"""The calico-node pods, which several chapters look at."""

from __future__ import annotations

import re

from pycalico.lab import plan
from pycalico.lab.checks import words
from pycalico.lab.step import W0, W1, W2, M

#: Their rows in ``kubectl get pod -o wide``.
AGENTS = [
    rf"(kube-system )?calico-node-\w+ 1/1 Running 0 \S+ {re.escape(node.address)} {node.name} <none> <none>"
    for node in plan.NODES
]


def find_agents(output: str) -> dict[str, str]:
    """The calico-node pod of each node, as fact ``agent_m`` and so on, from ``kubectl get pod -o wide``."""
    found: dict[str, str] = {}
    for line in words(output):
        name = re.search(r"calico-node-\w+", line)
        for node in (M, W0, W1, W2):
            if name and node in line.split():
                found[f"agent_{node.rpartition('-')[2]}"] = name.group()
    return found
