"""What happens to an object on its way in: defaults, light validation, and the rules of single kinds.

Built-in kinds get the defaults that clients rely on and checks of what a later reader would trip over;
custom objects get their CRD's schema. There is no admission chain and no webhooks.
"""

from __future__ import annotations

import datetime
import ipaddress
from collections.abc import Callable, Iterator
from typing import Any, Final

from pycalico.apiserver import crds, errors, kinds, names, schema
from pycalico.apiserver.kinds import Resource
from pycalico.apiserver.store import Store

Obj = dict[str, Any]
SERVICE_NETWORK: Final = ipaddress.IPv4Network("10.96.0.0/12")


def now() -> str:
    """The present as Kubernetes writes times: RFC 3339, UTC, whole seconds."""
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class Admission:
    """Prepares objects for storing. ``prepare`` changes the object in place."""

    def __init__(self, objects: Store) -> None:
        self._store = objects

    def prepare(self, resource: Resource, obj: Obj, old: Obj | None) -> list[str]:
        """Default, prune and validate a new state.

        Returns:
            Warnings for the client: the fields that were dropped as unknown.

        Raises:
            errors.StatusError: the object is refused.
        """
        names.check_metadata(resource, obj["metadata"])
        if resource.custom:
            return self._custom(resource, obj)
        rule = _RULES.get(resource.id)
        if rule is not None:
            rule(self, obj, old)
            return []
        if resource.group in ("apps", "batch"):
            _check_workload(resource, obj)
        return []

    def _custom(self, resource: Resource, obj: Obj) -> list[str]:
        if resource.schema is None:
            return []
        dropped = schema.prune(obj, resource.schema)
        schema.set_defaults(obj, resource.schema)
        causes = list(schema.validate(obj, {k: v for k, v in resource.schema.items() if k != "required"}))
        causes += [
            (field, "FieldValueRequired", "Required value")
            for field in resource.schema.get("required") or ()
            if field not in obj
        ]
        if causes:
            raise errors.invalid(resource, obj["metadata"]["name"], causes)
        return [f'unknown field "{path}"' for path in dropped]

    # --- one method for each kind with rules of its own ----------------------------------------------

    def namespace(self, obj: Obj, old: Obj | None) -> None:
        obj["metadata"].setdefault("labels", {})["kubernetes.io/metadata.name"] = obj["metadata"]["name"]
        if old is None:
            obj.setdefault("spec", {})["finalizers"] = ["kubernetes"]
            obj["status"] = {"phase": "Active"}
        else:
            obj.setdefault("spec", old.get("spec", {}))

    def node(self, obj: Obj, _old: Obj | None) -> None:
        obj.setdefault("spec", {})
        obj.setdefault("status", {})
        spec = obj["spec"]
        if spec.get("podCIDR") and not spec.get("podCIDRs"):
            spec["podCIDRs"] = [spec["podCIDR"]]

    def pod(self, obj: Obj, old: Obj | None) -> None:
        spec = _object(kinds.POD, obj, "spec")
        name = obj["metadata"]["name"]
        causes = list(_container_faults(spec, "spec"))
        if causes:
            raise errors.invalid(kinds.POD, name, causes)
        default_pod_spec(spec)
        spec.setdefault("serviceAccountName", spec.get("serviceAccount") or "default")
        spec["serviceAccount"] = spec["serviceAccountName"]
        if old is None:
            status = obj.setdefault("status", {})
            status.setdefault("phase", "Pending")
            status.setdefault("qosClass", _qos(spec))
        elif spec.get("nodeName") != old["spec"].get("nodeName") and old["spec"].get("nodeName"):
            text = "Forbidden: pod updates may not change fields other than image, tolerations and the like"
            raise errors.invalid(kinds.POD, name, [("spec", "FieldValueForbidden", text)])

    def service(self, obj: Obj, old: Obj | None) -> None:
        spec = obj.setdefault("spec", {})
        name = obj["metadata"]["name"]
        spec.setdefault("type", "ClusterIP")
        spec.setdefault("sessionAffinity", "None")
        causes = []
        for index, port in enumerate(spec.get("ports") or ()):
            field = f"spec.ports[{index}]"
            if not isinstance(port, dict) or not _is_port(port.get("port")):
                text = f"Invalid value: {port.get('port', 0) if isinstance(port, dict) else 0}: must be between 1 and 65535, inclusive"
                causes.append((f"{field}.port", "FieldValueInvalid", text))
                continue
            port.setdefault("protocol", "TCP")
            port.setdefault("targetPort", port["port"])
        if spec["type"] not in ("ClusterIP", "NodePort", "LoadBalancer", "ExternalName"):
            text = (
                f'Unsupported value: "{spec["type"]}": supported values: "ClusterIP", "ExternalName", '
                '"LoadBalancer", "NodePort"'
            )
            causes.append(("spec.type", "FieldValueNotSupported", text))
        elif not spec.get("ports") and spec["type"] != "ExternalName" and spec.get("clusterIP") != "None":
            causes.append(("spec.ports", "FieldValueRequired", "Required value"))
        if causes:
            raise errors.invalid(kinds.SERVICE, name, causes)
        obj.setdefault("status", {"loadBalancer": {}})
        if spec["type"] == "ExternalName":
            return
        if old is not None and old["spec"].get("clusterIP"):
            spec.setdefault("clusterIP", old["spec"]["clusterIP"])
            if spec["clusterIP"] != old["spec"]["clusterIP"] and old["spec"]["type"] != "ExternalName":
                text = f'Invalid value: "{spec["clusterIP"]}": may not change once set'
                raise errors.invalid(kinds.SERVICE, name, [("spec.clusterIPs[0]", "FieldValueInvalid", text)])
        self._allocate(obj, spec)
        spec["clusterIPs"] = [spec["clusterIP"], *(spec.get("clusterIPs") or ())[1:]]
        spec.setdefault("ipFamilies", ["IPv4"])
        spec.setdefault("ipFamilyPolicy", "SingleStack")
        spec.setdefault("internalTrafficPolicy", "Cluster")
        if spec["type"] in ("NodePort", "LoadBalancer"):
            spec.setdefault("externalTrafficPolicy", "Cluster")
            self._allocate_node_ports(obj, spec)

    def _others(self, obj: Obj) -> Iterator[Obj]:
        key = (obj["metadata"].get("namespace", ""), obj["metadata"]["name"])
        return (e.obj["spec"] for e in self._store.entries("services") if e.key != key)

    def _allocate(self, obj: Obj, spec: Obj) -> None:
        used = {other.get("clusterIP") for other in self._others(obj)}
        wanted = spec.get("clusterIP") or next(iter(spec.get("clusterIPs") or ()), None)
        if not wanted:
            # .1 is the service "kubernetes", .10 by custom DNS: both are asked for by name.
            base = int(SERVICE_NETWORK.network_address)
            wanted = next(
                ip
                for n in range(11, SERVICE_NETWORK.num_addresses - 1)
                if (ip := str(ipaddress.IPv4Address(base + n))) not in used
            )
        elif wanted != "None":
            text = ""
            try:
                if wanted in used:
                    text = "provided IP is already allocated"
                elif ipaddress.ip_address(wanted) not in SERVICE_NETWORK:
                    text = f"provided IP is not in the valid range. The range of valid IPs is {SERVICE_NETWORK}"
            except ValueError:
                text = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"
            if text:
                cause = ("spec.clusterIPs", "FieldValueInvalid", f'Invalid value: ["{wanted}"]: {text}')
                raise errors.invalid(kinds.SERVICE, obj["metadata"]["name"], [cause])
        spec["clusterIP"] = wanted

    def _allocate_node_ports(self, obj: Obj, spec: Obj) -> None:
        used = {p.get("nodePort") for other in self._others(obj) for p in other.get("ports") or ()}
        used |= {p.get("nodePort") for p in spec["ports"]}
        free = (port for port in range(30000, 32768) if port not in used)
        for port in spec["ports"]:
            if not port.get("nodePort"):
                port["nodePort"] = next(free)

    def secret(self, obj: Obj, _old: Obj | None) -> None:
        import base64  # noqa: PLC0415 (rarely needed)

        obj.setdefault("type", "Opaque")
        plain = obj.pop("stringData", None)
        if isinstance(plain, dict):
            data = obj.setdefault("data", {})
            for key, value in plain.items():
                data[key] = base64.b64encode(str(value).encode()).decode()

    def crd(self, obj: Obj, old: Obj | None) -> None:
        crds.prepare(obj, old, now())

    def network_policy(self, obj: Obj, _old: Obj | None) -> None:
        spec = obj.setdefault("spec", {})
        spec.setdefault("podSelector", {})
        if not spec.get("policyTypes"):
            spec["policyTypes"] = ["Ingress", "Egress"] if spec.get("egress") else ["Ingress"]
        for direction in ("ingress", "egress"):
            for rule in spec.get(direction) or ():
                for port in (rule or {}).get("ports") or ():
                    port.setdefault("protocol", "TCP")


def _object(resource: Resource, obj: Obj, field: str) -> Obj:
    value = obj.get(field)
    if not isinstance(value, dict):
        raise errors.invalid(
            resource, obj["metadata"]["name"], [(field, "FieldValueRequired", "Required value")]
        )
    return value


def _is_port(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= 65535


def _container_faults(spec: Obj, path: str) -> Iterator[tuple[str, str, str]]:
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


def _qos(spec: Obj) -> str:
    resources = [container.get("resources") or {} for container in spec["containers"]]
    if not any(r.get("requests") or r.get("limits") for r in resources):
        return "BestEffort"
    guaranteed = all(
        {"cpu", "memory"} <= set(r.get("limits") or {})
        and (not r.get("requests") or r["requests"] == {k: r["limits"].get(k) for k in r["requests"]})
        for r in resources
    )
    return "Guaranteed" if guaranteed else "Burstable"


def _check_workload(resource: Resource, obj: Obj) -> None:
    name = obj["metadata"]["name"]
    if resource.kind == "ControllerRevision":
        return
    spec = _object(resource, obj, "spec")
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
        causes += _container_faults(template["spec"], "spec.template.spec")
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


Rule = Callable[[Admission, Obj, Obj | None], None]
_RULES: Final[dict[str, Rule]] = {
    "namespaces": Admission.namespace,
    "nodes": Admission.node,
    "pods": Admission.pod,
    "services": Admission.service,
    "secrets": Admission.secret,
    kinds.CRD.id: Admission.crd,
    "networkpolicies.networking.k8s.io": Admission.network_policy,
}
