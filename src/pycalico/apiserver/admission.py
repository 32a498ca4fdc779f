"""What happens to an object on its way in: defaults, light validation, and the rules of single kinds.

Built-in kinds get the defaults that clients rely on and checks of what a later reader would trip over;
custom objects get their CRD's schema. There is no admission chain and no webhooks.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any, Final

from pycalico.apiserver import crds, errors, kinds, names, schema, services, workloads
from pycalico.apiserver.kinds import Resource
from pycalico.apiserver.store import Store

Obj = dict[str, Any]


def now() -> str:
    """The present as Kubernetes writes times: RFC 3339, UTC, whole seconds."""
    return dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class Admission:
    """Prepares objects for storing. ``prepare`` changes the object in place."""

    def __init__(self, objects: Store) -> None:
        self._services = services.Services(objects)

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
        _drop_nulls(obj)
        rule = _RULES.get(resource.id)
        if rule is not None:
            rule(self, obj, old)
            return []
        if resource.group in ("apps", "batch"):
            workloads.check_workload(resource, obj)
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
        spec = workloads.required_object(kinds.POD, obj, "spec")
        name = obj["metadata"]["name"]
        causes = list(workloads.container_faults(spec, "spec"))
        if causes:
            raise errors.invalid(kinds.POD, name, causes)
        workloads.default_pod_spec(spec)
        spec.setdefault("serviceAccountName", spec.get("serviceAccount") or "default")
        spec["serviceAccount"] = spec["serviceAccountName"]
        if old is None:
            status = obj.setdefault("status", {})
            status.setdefault("phase", "Pending")
            status.setdefault("qosClass", workloads.qos_class(spec))
        elif spec.get("nodeName") != old["spec"].get("nodeName") and old["spec"].get("nodeName"):
            text = "Forbidden: pod updates may not change fields other than image, tolerations and the like"
            raise errors.invalid(kinds.POD, name, [("spec", "FieldValueForbidden", text)])

    def service(self, obj: Obj, old: Obj | None) -> None:
        self._services.prepare(obj, old)

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


def _drop_nulls(value: Any) -> None:
    """Drop null fields, which built-in kinds read as absent, in place."""
    if isinstance(value, dict):
        for key in [key for key, item in value.items() if item is None]:
            del value[key]
        for item in value.values():
            _drop_nulls(item)
    elif isinstance(value, list):
        for item in value:
            _drop_nulls(item)


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
