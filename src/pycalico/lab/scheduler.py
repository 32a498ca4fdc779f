"""Where a pod goes: pure choices over pods and nodes as the API has them.

Of Kubernetes' scheduler it knows what the lab needs: nodeSelector, taints and tolerations, unschedulable and unready
nodes, and an even spread. Resources are not counted.
"""

from __future__ import annotations

from collections.abc import Sequence

from pycalico.lab.cluster import Object

_REPELLING = ("NoSchedule", "NoExecute")


def choose(pod: Object, nodes: Sequence[Object], pods: Sequence[Object]) -> str:
    """The node with the fewest pods of the same owner, then the fewest pods; empty when none fits."""
    owner = _owner(pod)
    fitting = [node for node in nodes if is_ready(node) and fits(pod, node)]
    if not fitting:
        return ""

    def load(node: Object) -> tuple[int, int]:
        here = [other for other in pods if other["spec"].get("nodeName") == node["metadata"]["name"]]
        siblings = sum(1 for other in here if owner and _owner(other) == owner)
        return siblings, len(here)

    return str(min(fitting, key=load)["metadata"]["name"])


def fits(pod: Object, node: Object) -> bool:
    """Whether the node's labels, taints and state allow the pod."""
    labels = node["metadata"].get("labels", {})
    wanted = pod["spec"].get("nodeSelector") or {}
    if any(labels.get(key) != value for key, value in wanted.items()):
        return False
    tolerations = pod["spec"].get("tolerations") or []
    taints = list(node["spec"].get("taints") or [])
    if node["spec"].get("unschedulable"):
        taints.append({"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"})
    return all(
        any(tolerates(toleration, taint) for toleration in tolerations)
        for taint in taints
        if taint.get("effect") in _REPELLING
    )


def tolerates(toleration: Object, taint: Object) -> bool:
    if toleration.get("effect") not in (None, "", taint.get("effect")):
        return False
    if toleration.get("operator", "Equal") == "Exists":
        return toleration.get("key") in (None, "", taint.get("key"))
    return bool(
        toleration.get("key") == taint.get("key") and toleration.get("value", "") == taint.get("value", "")
    )


def is_ready(item: Object) -> bool:
    """Whether a node's or pod's condition Ready is True."""
    conditions = item.get("status", {}).get("conditions") or []
    return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)


def _owner(pod: Object) -> str:
    references = pod["metadata"].get("ownerReferences") or [{}]
    return str(references[0].get("uid", ""))
