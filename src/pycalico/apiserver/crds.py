"""CustomResourceDefinitions themselves: their checks, defaults and status."""

from __future__ import annotations

from typing import Any

from pycalico.apiserver import errors, kinds

Obj = dict[str, Any]


def prepare(obj: Obj, old: Obj | None, time: str) -> None:
    """Check a CRD and give it the status of one that is served, in place.

    Raises:
        errors.StatusError: 422, a field is missing or contradicts another.
    """
    name = obj["metadata"]["name"]
    spec = obj.get("spec")
    causes = list(_faults(name, spec)) if isinstance(spec, dict) else [_required("spec")]
    if not causes and isinstance(spec, dict) and old is not None:
        causes += [
            (f"spec.{field}", "FieldValueInvalid", f'Invalid value: "{spec.get(field)}": field is immutable')
            for field in ("group", "scope")
            if spec.get(field) != old["spec"].get(field)
        ]
    if causes or not isinstance(spec, dict):
        raise errors.invalid(kinds.CRD, name, causes)
    accepted = spec["names"]
    accepted.setdefault("singular", accepted["kind"].lower())
    accepted.setdefault("listKind", accepted["kind"] + "List")
    spec.setdefault("conversion", {"strategy": "None"})
    stored = [v["name"] for v in spec["versions"] if v.get("storage")]
    status = dict((old or {}).get("status") or {})
    known = status.get("storedVersions") or []
    status["storedVersions"] = known + [v for v in stored if v not in known]
    status["acceptedNames"] = accepted
    if not status.get("conditions"):
        status["conditions"] = [
            _condition("NamesAccepted", "NoConflicts", "no conflicts found", time),
            _condition("Established", "InitialNamesAccepted", "the initial names have been accepted", time),
        ]
    obj["status"] = status


def _condition(kind: str, reason: str, message: str, time: str) -> Obj:
    return {
        "type": kind,
        "status": "True",
        "lastTransitionTime": time,
        "reason": reason,
        "message": message,
    }


def _required(field: str) -> tuple[str, str, str]:
    return field, "FieldValueRequired", "Required value"


def _faults(name: str, spec: Obj) -> list[tuple[str, str, str]]:
    names = spec.get("names")
    versions = spec.get("versions")
    if not isinstance(names, dict):
        return [_required("spec.names")]
    faults = [_required(f"spec.names.{field}") for field in ("plural", "kind") if not names.get(field)]
    if not spec.get("group"):
        faults.append(_required("spec.group"))
    if spec.get("scope") not in ("Namespaced", "Cluster"):
        text = f'Unsupported value: "{spec.get("scope", "")}": supported values: "Cluster", "Namespaced"'
        faults.append(("spec.scope", "FieldValueNotSupported", text))
    if not faults and name != f"{names['plural']}.{spec['group']}":
        text = f'Invalid value: "{name}": must be spec.names.plural+"."+spec.group'
        faults.append(("metadata.name", "FieldValueInvalid", text))
    if not isinstance(versions, list) or not all(isinstance(v, dict) and v.get("name") for v in versions):
        faults.append(_required("spec.versions"))
        return faults
    if sum(bool(v.get("storage")) for v in versions) != 1:
        text = "Invalid value: must have exactly one version marked as storage version"
        faults.append(("spec.versions", "FieldValueInvalid", text))
    for index, version in enumerate(versions):
        root = (version.get("schema") or {}).get("openAPIV3Schema")
        if not isinstance(root, dict):
            faults.append(_required(f"spec.versions[{index}].schema.openAPIV3Schema"))
        elif root.get("type") != "object":
            field = f"spec.versions[{index}].schema.openAPIV3Schema.type"
            text = f'Invalid value: "{root.get("type", "")}": must be object at the root'
            faults.append((field, "FieldValueInvalid", text))
    return faults
