"""The walkthrough as data: every command in its order, what to say about it, and what its output must be.

The tests run these steps against a lab, and ``docs/walkthrough.md`` is the transcript of such a run.
"""

from __future__ import annotations

from pycalico.lab import plan
from pycalico.lab.chapters import addresses, pods, routes, sessions
from pycalico.lab.step import Step


def walkthrough() -> list[Step]:
    return [*addresses.steps(), *sessions.steps(), *pods.steps(), *routes.steps()]


def facts(*, ipip: bool) -> dict[str, str]:
    """The words that depend on the encapsulation."""
    overhead = 20 if ipip else 50
    return {
        "tunnel": "tunl0" if ipip else r"vxlan.calico",
        "tunnel_mtu": str(plan.NODE_MTU - overhead),
        "ipip_mode": "Always" if ipip else "Never",
        "vxlan_mode": "Never" if ipip else "Always",
    }
