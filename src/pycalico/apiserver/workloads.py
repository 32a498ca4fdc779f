"""Defaults and checks of pods' specs and of what makes pods."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pycalico.apiserver import errors
from pycalico.apiserver.kinds import Resource

Obj = dict[str, Any]


def required_object(resource: Resource, obj: Obj, field: str) -> Obj:
    value = obj.get(field)
    if not isinstance(value, dict):
        raise errors.invalid(
            resource, obj["metadata"]["name"], [(field, "FieldValueRequired", "Required value")]
        )
    return value


def container_faults(spec: Obj, path: str) -> Iterator[tuple[str, str, str]]:
    containers = spec.get("containers")
    if not isinstance(containers, list) or not containers:
        yield f"{path}.containers", "FieldValueRequired", "Required value"
        return
    seen: set[str] = set()
    for index, container in enumerate(containers):
        field = f"{path}.containers[{index}]"
        if not isinstance(container, dict) or not container.get("name"):
            yield f"{field}.name", "FieldValueRequired", "Required value"
            continue
        if container["name"] in seen:
            yield f"{field}.name", "FieldValueDuplicate", f'Duplicate value: "{container["name"]}"'
        seen.add(container["name"])
        if not container.get("image"):
            yield f"{field}.image", "FieldValueRequired", "Required value"


def default_pod_spec(spec: Obj) -> None:
    """Fill what a kube-apiserver fills in a pod's or template's spec, in place."""
    spec.setdefault("restartPolicy", "Always")
    spec.setdefault("dnsPolicy", "ClusterFirst")
    spec.setdefault("schedulerName", "default-scheduler")
    spec.setdefault("terminationGracePeriodSeconds", 30)
    spec.setdefault("securityContext", {})
    for container in [*spec["containers"], *(spec.get("initContainers") or ())]:
        image = str(container.get("image", ""))
        untagged = ":" not in image.rpartition("/")[2] and "@" not in image
        container.setdefault(
            "imagePullPolicy", "Always" if untagged or image.endswith(":latest") else "IfNotPresent"
        )
        container.setdefault("terminationMessagePath", "/dev/termination-log")
        container.setdefault("terminationMessagePolicy", "File")
        container.setdefault("resources", {})
        for port in container.get("ports") or ():
            port.setdefault("protocol", "TCP")
            if spec.get("hostNetwork"):
                port.setdefault("hostPort", port.get("containerPort"))


def qos_class(spec: Obj) -> str:
    resources = [container.get("resources") or {} for container in spec["containers"]]
    if not any(r.get("requests") or r.get("limits") for r in resources):
        return "BestEffort"
    guaranteed = all(
        {"cpu", "memory"} <= set(r.get("limits") or {})
        and (not r.get("requests") or r["requests"] == {k: r["limits"].get(k) for k in r["requests"]})
        for r in resources
    )
    return "Guaranteed" if guaranteed else "Burstable"


def check_workload(resource: Resource, obj: Obj) -> None:
    name = obj["metadata"]["name"]
    if resource.kind == "ControllerRevision":
        return
    spec = required_object(resource, obj, "spec")
    if resource.kind in ("CronJob", "Job"):
        return
    causes: list[tuple[str, str, str]] = []
    selector = spec.get("selector")
    template = spec.get("template")
    if not isinstance(selector, dict):
        causes.append(("spec.selector", "FieldValueRequired", "Required value"))
    if not isinstance(template, dict) or not isinstance(template.get("spec"), dict):
        causes.append(("spec.template.spec", "FieldValueRequired", "Required value"))
    else:
        causes += container_faults(template["spec"], "spec.template.spec")
        labels = (template.get("metadata") or {}).get("labels") or {}
        wanted = (selector or {}).get("matchLabels") or {}
        if any(labels.get(key) != value for key, value in wanted.items()):
            text = f"Invalid value: {labels}: `selector` does not match template `labels`"
            causes.append(("spec.template.metadata.labels", "FieldValueInvalid", text))
    if causes:
        raise errors.invalid(resource, name, causes)
    default_pod_spec(spec["template"]["spec"])
    spec.setdefault("revisionHistoryLimit", 10)
    if resource.kind in ("Deployment", "ReplicaSet", "StatefulSet"):
        spec.setdefault("replicas", 1)
    rolling = {"maxUnavailable": "25%", "maxSurge": "25%"}
    if resource.kind == "Deployment":
        spec.setdefault("strategy", {"type": "RollingUpdate", "rollingUpdate": rolling})
        spec.setdefault("progressDeadlineSeconds", 600)
    elif resource.kind == "DaemonSet":
        rolling = {"maxUnavailable": 1, "maxSurge": 0}  # type: ignore[dict-item]
        spec.setdefault("updateStrategy", {"type": "RollingUpdate", "rollingUpdate": rolling})
    obj.setdefault("status", {})
