"""DaemonSets, Deployments and ReplicaSets: which pods should be, as pure functions over what the API has.

Each returns the objects to create and those to delete; the caller does it. Names are formed as Kubernetes forms them
(a hash of the template, five random letters), since endpoint names are made from them.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import msgspec

from pycalico.lab import scheduler
from pycalico.lab.cluster import Object

#: Kubernetes' alphabet for generated names: no vowels, no digits that look like letters.
_LETTERS = "bcdfghjklmnpqrstvwxz2456789"
_HASH = "pod-template-hash"


class Plan(NamedTuple):
    create: list[Object]
    delete: list[Object]
    status: Object


def daemonset(item: Object, nodes: Sequence[Object], pods: Iterable[Object]) -> Plan:
    """One pod for each node that fits, bound to it from the start as the DaemonSet controller's affinity does."""
    mine = owned(item, pods)
    hashed = template_hash(item)
    create: list[Object] = []
    delete: list[Object] = []
    wanted = ready = updated = 0
    for node in nodes:
        name = node["metadata"]["name"]
        here = [pod for pod in mine if pod["spec"].get("nodeName") == name]
        living = [pod for pod in here if not _ending(pod)]
        template = item["spec"]["template"]
        if not scheduler.fits(template, node):
            delete += living
            continue
        wanted += 1
        ready += any(scheduler.is_ready(pod) for pod in living)
        current = [p for p in living if p["metadata"]["labels"].get("controller-revision-hash") == hashed]
        updated += bool(current)
        delete += [pod for pod in living if pod not in current] + current[1:]
        if not living:
            labels = {"controller-revision-hash": hashed, "pod-template-generation": "1"}
            pod = make_pod(item, template, labels)
            pod["spec"]["nodeName"] = name
            create.append(pod)
    known = {node["metadata"]["name"] for node in nodes}
    delete += [pod for pod in mine if pod["spec"].get("nodeName") not in known and not _ending(pod)]
    status = {
        "desiredNumberScheduled": wanted,
        "currentNumberScheduled": wanted - len(create),
        "numberReady": ready,
        "numberAvailable": ready,
        "numberUnavailable": wanted - ready,
        "updatedNumberScheduled": updated,
        "numberMisscheduled": 0,
        "observedGeneration": item["metadata"].get("generation", 1),
    }
    return Plan(create, delete, status)


def deployment(item: Object, replicasets: Iterable[Object]) -> Plan:
    """The ReplicaSet of the present template; those of former templates are removed with their pods."""
    mine = owned(item, replicasets)
    hashed = template_hash(item)
    name = f"{item['metadata']['name']}-{hashed}"
    current = [one for one in mine if one["metadata"]["name"] == name]
    replicas = item["spec"].get("replicas", 1)
    create: list[Object] = []
    delete = [one for one in mine if one["metadata"]["name"] != name and not _ending(one)]
    if not current:
        template = msgspec.json.decode(msgspec.json.encode(item["spec"]["template"]))
        template.setdefault("metadata", {}).setdefault("labels", {})[_HASH] = hashed
        selector = {
            **item["spec"]["selector"],
            "matchLabels": {**item["spec"]["selector"].get("matchLabels", {}), _HASH: hashed},
        }
        create.append(
            {
                "apiVersion": "apps/v1",
                "kind": "ReplicaSet",
                "metadata": {
                    "name": name,
                    "namespace": item["metadata"]["namespace"],
                    "labels": dict(template["metadata"]["labels"]),
                    "ownerReferences": [_reference(item)],
                },
                "spec": {"replicas": replicas, "selector": selector, "template": template},
            }
        )
    ready = sum(one.get("status", {}).get("readyReplicas", 0) for one in current)
    present = sum(one.get("status", {}).get("replicas", 0) for one in current)
    available = {"type": "Available", "status": "True" if ready >= replicas else "False"}
    status = {
        "replicas": present,
        "updatedReplicas": present,
        "readyReplicas": ready,
        "availableReplicas": ready,
        "unavailableReplicas": max(0, replicas - ready),
        "conditions": [{**available, "reason": "MinimumReplicas", "message": f"{ready} of {replicas} ready"}],
        "observedGeneration": item["metadata"].get("generation", 1),
    }
    return Plan(create, delete, status)


def replicaset(item: Object, pods: Iterable[Object]) -> Plan:
    """As many living pods as asked for; the youngest unready ones go first when there are too many."""
    living = [pod for pod in owned(item, pods) if not _ending(pod) and not _finished(pod)]
    wanted = item["spec"].get("replicas", 1)
    create = [make_pod(item, item["spec"]["template"], {}) for _ in range(wanted - len(living))]
    surplus = sorted(living, key=scheduler.is_ready)[: max(0, len(living) - wanted)]
    ready = sum(scheduler.is_ready(pod) for pod in living)
    status = {
        "replicas": len(living),
        "fullyLabeledReplicas": len(living),
        "readyReplicas": ready,
        "availableReplicas": ready,
        "observedGeneration": item["metadata"].get("generation", 1),
    }
    return Plan(create, surplus, status)


def scaled(item: Object, replicasets: Iterable[Object]) -> list[tuple[Object, int]]:
    """ReplicaSets of a Deployment whose size differs from the Deployment's, with the size to set."""
    wanted = item["spec"].get("replicas", 1)
    return [
        (one, wanted)
        for one in owned(item, replicasets)
        if one["spec"].get("replicas", 1) != wanted and one["metadata"]["name"].endswith(template_hash(item))
    ]


def owned(owner: Object, items: Iterable[Object]) -> list[Object]:
    uid = owner["metadata"]["uid"]
    return [
        item
        for item in items
        if any(reference.get("uid") == uid for reference in item["metadata"].get("ownerReferences") or [])
    ]


def template_hash(item: Object) -> str:
    """Ten letters that stand for the pod template."""
    digest = hashlib.sha256(msgspec.json.encode(item["spec"]["template"], order="sorted")).digest()
    return "".join(_LETTERS[byte % len(_LETTERS)] for byte in digest[:10])


def make_pod(owner: Object, template: Object, labels: dict[str, str]) -> Object:
    prefix = f"{owner['metadata']['name']}-"
    meta = template.get("metadata") or {}
    pod: Object = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": prefix + "".join(secrets.choice(_LETTERS) for _ in range(5)),
            "generateName": prefix,
            "namespace": owner["metadata"]["namespace"],
            "labels": {**(meta.get("labels") or {}), **labels},
            "ownerReferences": [_reference(owner)],
        },
        "spec": msgspec.json.decode(msgspec.json.encode(template["spec"])),
    }
    if meta.get("annotations"):
        pod["metadata"]["annotations"] = dict(meta["annotations"])
    return pod


def _reference(owner: Object) -> Object:
    return {
        "apiVersion": "apps/v1",
        "kind": owner["kind"],
        "name": owner["metadata"]["name"],
        "uid": owner["metadata"]["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }


def _ending(item: Object) -> bool:
    return bool(item["metadata"].get("deletionTimestamp"))


def _finished(pod: Object) -> bool:
    return pod.get("status", {}).get("phase") in ("Succeeded", "Failed")
