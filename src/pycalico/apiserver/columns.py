"""The columns of the built-in kinds, as `kubectl get` of Kubernetes prints them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from pycalico.apiserver.ages import age

Obj = dict[str, Any]
Cell = Callable[[Obj], Any]
Column = tuple[str, str, int, Cell]  # name, type, priority (1: only with -o wide), value


def _name(obj: Obj) -> str:
    return str(obj["metadata"]["name"])


def _age(obj: Obj) -> str:
    return age(obj["metadata"].get("creationTimestamp"))


def _path(*steps: str, absent: Any = "<none>") -> Cell:
    def value(obj: Obj) -> Any:
        found: Any = obj
        for step in steps:
            found = found.get(step) if isinstance(found, dict) else None
        return absent if found is None else found

    return value


def _labels(field: Obj | None) -> str:
    return ",".join(f"{key}={value}" for key, value in sorted((field or {}).items())) or "<none>"


def _selector(selector: Obj | None) -> str:
    terms = [f"{key}={value}" for key, value in sorted(((selector or {}).get("matchLabels") or {}).items())]
    for term in (selector or {}).get("matchExpressions") or ():
        values = ",".join(term.get("values") or ())
        operator = term["operator"]
        if operator in ("Exists", "DoesNotExist"):
            terms.append(("" if operator == "Exists" else "!") + term["key"])
        else:
            terms.append(f"{term['key']} {operator.lower()} ({values})")
    return ",".join(terms) or "<none>"


def _containers(obj: Obj, field: str) -> str:
    return ",".join(str(c.get(field, "")) for c in obj["spec"]["template"]["spec"]["containers"])


# --- pods ---------------------------------------------------------------------------------------------


def _pod_ready(obj: Obj) -> str:
    statuses = (obj.get("status") or {}).get("containerStatuses") or []
    return f"{sum(bool(s.get('ready')) for s in statuses)}/{len(obj['spec']['containers'])}"


def _pod_status(obj: Obj) -> str:
    status = obj.get("status") or {}
    shown = status.get("reason") or status.get("phase") or "Unknown"
    for container in reversed(status.get("containerStatuses") or []):
        state = container.get("state") or {}
        if reason := (state.get("waiting") or {}).get("reason"):
            shown = reason
        elif ended := state.get("terminated"):
            shown = ended.get("reason") or f"ExitCode:{ended.get('exitCode', 0)}"
    if obj["metadata"].get("deletionTimestamp"):
        shown = "Unknown" if status.get("reason") == "NodeLost" else "Terminating"
    return str(shown)


def _pod_restarts(obj: Obj) -> str:
    statuses = (obj.get("status") or {}).get("containerStatuses") or []
    count = sum(s.get("restartCount", 0) for s in statuses)
    ends = [
        end
        for s in statuses
        if (end := ((s.get("lastState") or {}).get("terminated") or {}).get("finishedAt"))
    ]
    return f"{count} ({age(max(ends))} ago)" if count and ends else str(count)


def _pod_gates(obj: Obj) -> str:
    gates = obj["spec"].get("readinessGates") or []
    if not gates:
        return "<none>"
    met = {c["type"] for c in (obj.get("status") or {}).get("conditions") or () if c.get("status") == "True"}
    return f"{sum(g['conditionType'] in met for g in gates)}/{len(gates)}"


# --- nodes --------------------------------------------------------------------------------------------


def _node_status(obj: Obj) -> str:
    conditions = {c["type"]: c["status"] for c in (obj.get("status") or {}).get("conditions") or ()}
    shown = {"True": "Ready"}.get(
        conditions.get("Ready", ""), "NotReady" if "Ready" in conditions else "Unknown"
    )
    return shown + (",SchedulingDisabled" if obj["spec"].get("unschedulable") else "")


def _node_roles(obj: Obj) -> str:
    prefix = "node-role.kubernetes.io/"
    labels = obj["metadata"].get("labels") or {}
    roles = {key[len(prefix) :] for key in labels if key.startswith(prefix) and key != prefix}
    if labels.get("kubernetes.io/role"):
        roles.add(labels["kubernetes.io/role"])
    return ",".join(sorted(roles)) or "<none>"


def _node_address(kind: str) -> Cell:
    def value(obj: Obj) -> str:
        addresses = (obj.get("status") or {}).get("addresses") or ()
        return next((str(a["address"]) for a in addresses if a.get("type") == kind), "<none>")

    return value


def _node_info(field: str) -> Cell:
    return _path("status", "nodeInfo", field, absent="<unknown>")


# --- services -----------------------------------------------------------------------------------------


def _service_external(obj: Obj) -> str:
    spec = obj["spec"]
    given = [str(ip) for ip in spec.get("externalIPs") or ()]
    if spec["type"] == "ExternalName":
        return str(spec.get("externalName", ""))
    if spec["type"] == "LoadBalancer":
        ingress = ((obj.get("status") or {}).get("loadBalancer") or {}).get("ingress") or ()
        given = [i.get("ip") or i.get("hostname") for i in ingress] + given
        return ",".join(given) or "<pending>"
    return ",".join(given) or "<none>"


def _service_ports(obj: Obj) -> str:
    shown = []
    for port in obj["spec"].get("ports") or ():
        node_port = f":{port['nodePort']}" if port.get("nodePort") else ""
        shown.append(f"{port['port']}{node_port}/{port.get('protocol', 'TCP')}")
    return ",".join(shown) or "<none>"


def _endpoints(obj: Obj) -> str:
    pairs = [
        f"[{a['ip']}]:{p['port']}" if ":" in a["ip"] else f"{a['ip']}:{p['port']}"
        for subset in obj.get("subsets") or ()
        for p in subset.get("ports") or ()
        for a in subset.get("addresses") or ()
    ]
    more = f" + {len(pairs) - 3} more..." if len(pairs) > 3 else ""
    return ",".join(pairs[:3]) + more or "<none>"


def _slice_endpoints(obj: Obj) -> str:
    found = [a for endpoint in obj.get("endpoints") or () for a in endpoint.get("addresses") or ()]
    more = f" + {len(found) - 3} more..." if len(found) > 3 else ""
    return ",".join(found[:3]) + more or "<unset>"


def _count(field: str) -> Cell:
    return lambda obj: len(obj.get(field) or ())


def _event_seen(obj: Obj) -> str:
    return age(obj.get("lastTimestamp") or obj.get("eventTime") or obj["metadata"].get("creationTimestamp"))


def _event_object(obj: Obj) -> str:
    about = obj.get("involvedObject") or {}
    return f"{str(about.get('kind', '')).lower()}/{about.get('name', '')}"


def _event_source(obj: Obj) -> str:
    source = obj.get("source") or {}
    parts = [source.get("component") or obj.get("reportingComponent"), source.get("host")]
    return ", ".join(part for part in parts if part)


NAME: Final[Column] = ("Name", "string", 0, _name)
AGE: Final[Column] = ("Age", "string", 0, _age)
_CREATED: Final[Column] = ("Created At", "date", 0, _path("metadata", "creationTimestamp"))
_TEMPLATE: Final[tuple[Column, ...]] = (
    ("Containers", "string", 1, lambda o: _containers(o, "name")),
    ("Images", "string", 1, lambda o: _containers(o, "image")),
    ("Selector", "string", 1, lambda o: _selector(o["spec"].get("selector"))),
)


def _number(*steps: str) -> Cell:
    return _path(*steps, absent=0)


BY_ID: Final[dict[str, tuple[Column, ...]]] = {
    "pods": (
        NAME,
        ("Ready", "string", 0, _pod_ready),
        ("Status", "string", 0, _pod_status),
        ("Restarts", "string", 0, _pod_restarts),
        AGE,
        ("IP", "string", 1, _path("status", "podIP")),
        ("Node", "string", 1, _path("spec", "nodeName")),
        ("Nominated Node", "string", 1, _path("status", "nominatedNodeName")),
        ("Readiness Gates", "string", 1, _pod_gates),
    ),
    "nodes": (
        NAME,
        ("Status", "string", 0, _node_status),
        ("Roles", "string", 0, _node_roles),
        AGE,
        ("Version", "string", 0, _path("status", "nodeInfo", "kubeletVersion", absent="")),
        ("Internal-IP", "string", 1, _node_address("InternalIP")),
        ("External-IP", "string", 1, _node_address("ExternalIP")),
        ("OS-Image", "string", 1, _node_info("osImage")),
        ("Kernel-Version", "string", 1, _node_info("kernelVersion")),
        ("Container-Runtime", "string", 1, _node_info("containerRuntimeVersion")),
    ),
    "namespaces": (NAME, ("Status", "string", 0, _path("status", "phase")), AGE),
    "services": (
        NAME,
        ("Type", "string", 0, _path("spec", "type")),
        ("Cluster-IP", "string", 0, _path("spec", "clusterIP")),
        ("External-IP", "string", 0, _service_external),
        ("Port(s)", "string", 0, _service_ports),
        AGE,
        ("Selector", "string", 1, lambda o: _labels(o["spec"].get("selector"))),
    ),
    "endpoints": (NAME, ("Endpoints", "string", 0, _endpoints), AGE),
    "endpointslices.discovery.k8s.io": (
        NAME,
        ("AddressType", "string", 0, _path("addressType")),
        ("Ports", "string", 0, lambda o: ",".join(str(p["port"]) for p in o.get("ports") or ()) or "<unset>"),
        ("Endpoints", "string", 0, _slice_endpoints),
        AGE,
    ),
    "serviceaccounts": (NAME, ("Secrets", "string", 0, _count("secrets")), AGE),
    "configmaps": (NAME, ("Data", "string", 0, lambda o: len(o.get("data") or ()) + len(o.get("binaryData") or ())), AGE),
    "secrets": (NAME, ("Type", "string", 0, _path("type")), ("Data", "string", 0, _count("data")), AGE),
    "events": (
        ("Last Seen", "string", 0, _event_seen),
        ("Type", "string", 0, _path("type", absent="")),
        ("Reason", "string", 0, _path("reason", absent="")),
        ("Object", "string", 0, _event_object),
        ("Subobject", "string", 1, _path("involvedObject", "fieldPath", absent="")),
        ("Source", "string", 1, _event_source),
        ("Message", "string", 0, lambda o: str(o.get("message", "")).strip()),
        ("First Seen", "string", 1, lambda o: age(o.get("firstTimestamp") or o["metadata"]["creationTimestamp"])),
        ("Count", "string", 1, _path("count", absent=1)),
        ("Name", "string", 1, _name),
    ),
    "leases.coordination.k8s.io": (NAME, ("Holder", "string", 0, _path("spec", "holderIdentity", absent="")), AGE),
    "daemonsets.apps": (
        NAME,
        ("Desired", "integer", 0, _number("status", "desiredNumberScheduled")),
        ("Current", "integer", 0, _number("status", "currentNumberScheduled")),
        ("Ready", "integer", 0, _number("status", "numberReady")),
        ("Up-to-date", "integer", 0, _number("status", "updatedNumberScheduled")),
        ("Available", "integer", 0, _number("status", "numberAvailable")),
        ("Node Selector", "string", 0, lambda o: _labels(o["spec"]["template"]["spec"].get("nodeSelector"))),
        AGE,
        *_TEMPLATE,
    ),
    "deployments.apps": (
        NAME,
        ("Ready", "string", 0,
         lambda o: f"{_number('status', 'readyReplicas')(o)}/{_number('spec', 'replicas')(o)}"),
        ("Up-to-date", "integer", 0, _number("status", "updatedReplicas")),
        ("Available", "integer", 0, _number("status", "availableReplicas")),
        AGE,
        *_TEMPLATE,
    ),
    "replicasets.apps": (
        NAME,
        ("Desired", "integer", 0, _number("spec", "replicas")),
        ("Current", "integer", 0, _number("status", "replicas")),
        ("Ready", "integer", 0, _number("status", "readyReplicas")),
        AGE,
        *_TEMPLATE,
    ),
    "networkpolicies.networking.k8s.io": (
        NAME,
        ("Pod-Selector", "string", 0, lambda o: _selector(o["spec"].get("podSelector"))),
        AGE,
    ),
    "poddisruptionbudgets.policy": (
        NAME,
        ("Min Available", "string", 0, lambda o: str(_path("spec", "minAvailable", absent="N/A")(o))),
        ("Max Unavailable", "string", 0, lambda o: str(_path("spec", "maxUnavailable", absent="N/A")(o))),
        ("Allowed Disruptions", "integer", 0, _number("status", "disruptionsAllowed")),
        AGE,
    ),
    "priorityclasses.scheduling.k8s.io": (
        NAME,
        ("Value", "integer", 0, _number("value")),
        ("Global-Default", "boolean", 0, _path("globalDefault", absent=False)),
        AGE,
    ),
    "customresourcedefinitions.apiextensions.k8s.io": (NAME, _CREATED),
    "roles.rbac.authorization.k8s.io": (NAME, _CREATED),
    "clusterroles.rbac.authorization.k8s.io": (NAME, _CREATED),
    "rolebindings.rbac.authorization.k8s.io": (
        NAME, ("Role", "string", 0, lambda o: f"{o['roleRef']['kind']}/{o['roleRef']['name']}"), AGE,
    ),
    "clusterrolebindings.rbac.authorization.k8s.io": (
        NAME, ("Role", "string", 0, lambda o: f"{o['roleRef']['kind']}/{o['roleRef']['name']}"), AGE,
    ),
}  # fmt: skip
