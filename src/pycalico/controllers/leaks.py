"""Which addresses nobody uses any more: one look over everything that IPAM holds. Pure, with a clock handed in.

This is the first proof only. ``collector`` asks the API server again before it releases anything.
"""

from __future__ import annotations

import logging
from typing import Protocol

import msgspec

from pycalico.controllers.ipamview import Allocation, IPAMView
from pycalico.controllers.kubernetes import Existence, KubernetesPod, parse_address

log = logging.getLogger(__name__)


class NotKubernetes(Exception):
    """The Calico node is not one of Kubernetes: none of this is our business."""


class World(Protocol):
    """What the feeds say."""

    def kubernetes_node(self, node: str) -> str | None:
        """The Kubernetes name of a Calico node; None when there is no such Calico node.

        Raises NotKubernetes, or DatastoreError when it cannot be told.
        """

    def node_exists(self, kubernetes_name: str) -> bool: ...

    def cached_pod(self, namespace: str, name: str) -> KubernetesPod | None: ...


class Findings(msgspec.Struct):
    """``kubernetes_names``: of the nodes looked at. ``gone``: nodes without a Kubernetes node, and of those
    ``releasable`` hold nothing that may be in use.
    """

    kubernetes_names: dict[str, str | None] = {}
    gone: set[str] = set()
    releasable: list[str] = []


def examine(view: IPAMView, world: World, now_s: float, grace_s: float | None) -> Findings:
    """Marks allocations of ``view`` as valid, candidate or confirmed. ``grace_s`` None: living nodes are left
    alone; 0: candidates are shown but never confirmed.
    """
    findings = Findings()
    for node in view.nodes():
        try:
            name = world.kubernetes_node(node)
        except NotKubernetes:
            log.debug("Skipping non-kubernetes node %s", node)
            continue
        except Exception as error:  # noqa: BLE001 - whatever it is, this node is left alone and the next looked at
            log.warning("Failed to lookup corresponding node, skipping %s: %s", node, error)
            continue
        findings.kubernetes_names[node] = name
        alive = name is not None and world.node_exists(name)
        tunnels: list[Allocation] = []
        in_use = False
        for allocation in view.by_node.get(node, {}).values():
            if allocation.is_windows_reserved:
                continue
            if allocation.is_tunnel:
                tunnels.append(allocation)
            elif allocation.pod is None:
                log.log(
                    logging.DEBUG if alive else logging.INFO,
                    "IP allocation on node is from an unknown source. "
                    "Will be unable to cleanup block until it is removed.",
                    extra=allocation.fields(),
                )
                in_use = True
            elif (
                why := flaw(allocation, pod := world.cached_pod(*allocation.pod), name, alive=alive)
            ) is None:
                in_use = True
                mark_valid(allocation, now_s)
            elif not alive and pod is not None and pod.addresses is None:
                # The node may be back in a moment, and the pod get the address that it waits for.
                if grace_s is not None:
                    _mark_leaked(allocation, now_s, grace_s, why)
                in_use = in_use or not allocation.confirmed
            elif not alive:
                mark_confirmed(allocation, now_s, f"{why}, node {node} is gone")
            elif grace_s is not None:
                _mark_leaked(allocation, now_s, grace_s, why)
        if alive:
            for allocation in tunnels:
                mark_valid(allocation, now_s)
            continue
        findings.gone.add(node)
        if in_use:
            log.info(
                "Can't cleanup node yet - IPs still in use on this node", extra={"fields": {"node": node}}
            )
            continue
        for allocation in tunnels:
            mark_confirmed(allocation, now_s, f"tunnel address of node {node}, which is gone")
        findings.releasable.append(node)
    return findings


def flaw(
    allocation: Allocation,
    pod: KubernetesPod | Existence | None,
    kubernetes_name: str | None,
    *,
    alive: bool = True,
) -> str | None:
    """Why ``pod`` cannot be using the address; None when it may be. ``alive``: its node exists."""
    shown = "/".join(allocation.pod or ())
    if pod is None or pod is Existence.GONE:
        return f"pod {shown} does not exist"
    if isinstance(pod, Existence):
        return None
    if pod.addresses is not None and (
        allocation.address in pod.addresses or parse_address(str(allocation.address)) in pod.addresses
    ):
        return None
    if pod.node and kubernetes_name and pod.node != kubernetes_name:
        return f"pod {shown} runs on node {pod.node}"
    if pod.addresses is None:
        return None if alive else f"pod {shown} has no address yet, and its node is gone"
    if not pod.addresses:
        return f"pod {shown} has ended"
    others = ", ".join(sorted(map(str, pod.addresses)))
    return f"pod {shown} has another address: {others}"


def mark_valid(allocation: Allocation, now_s: float) -> None:
    if allocation.leaked_since_s is not None:
        log.info(
            "Confirmed valid IP after %.0f s",
            now_s - allocation.leaked_since_s,
            extra=allocation.fields(),
        )
    allocation.clear()


def mark_confirmed(allocation: Allocation, now_s: float, why: str) -> None:
    allocation.why = why
    if allocation.confirmed:
        return
    if allocation.leaked_since_s is None:
        log.warning("Confirmed IP leak", extra=allocation.fields())
    else:
        after_s = now_s - allocation.leaked_since_s
        log.warning("Confirmed IP leak after %.0f s", after_s, extra=allocation.fields())
    allocation.confirmed = True


def _mark_leaked(allocation: Allocation, now_s: float, grace_s: float, why: str) -> None:
    allocation.why = why
    if allocation.leaked_since_s is None:
        allocation.leaked_since_s = now_s
        log.info("Candidate IP leak", extra=allocation.fields())
    if grace_s > 0 and now_s - allocation.leaked_since_s > grace_s:
        mark_confirmed(allocation, now_s, why)
