"""The name rules of Kubernetes objects."""

from __future__ import annotations

import re
from typing import Any, Final

from pycalico.apiserver import errors
from pycalico.apiserver.kinds import Resource

_LABEL: Final = re.compile(r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")
_LABEL_1035: Final = re.compile(r"^[a-z]([-a-z0-9]*[a-z0-9])?$")
_SUBDOMAIN: Final = re.compile(r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$")
_KEY: Final = re.compile(r"^([a-z0-9A-Z][-a-z0-9A-Z.]{0,252}/)?[a-zA-Z0-9]([-\w.]{0,61}[a-zA-Z0-9])?$")
_VALUE: Final = re.compile(r"^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$")
_SUBDOMAIN_TEXT: Final = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must "
    "start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)
_LABEL_TEXT: Final = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and "
    "end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
)
_LABEL_1035_TEXT: Final = (
    "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic "
    "character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for "
    "validation is '[a-z]([-a-z0-9]*[a-z0-9])?')"
)


def check_metadata(resource: Resource, metadata: dict[str, Any]) -> None:
    """Refuse a bad name, label or annotation.

    Raises:
        errors.StatusError: 422 naming every bad field.
    """
    name = str(metadata.get("name") or "")
    causes = [("metadata.name", "FieldValueInvalid", text) for text in _name_faults(resource, name)]
    for key, value in (metadata.get("labels") or {}).items():
        if not _KEY.match(key):
            causes.append(
                ("metadata.labels", "FieldValueInvalid", f'Invalid value: "{key}": not a label key')
            )
        if len(value) > 63 or not _VALUE.match(value):
            text = (
                f'Invalid value: "{value}": a valid label must be an empty string or consist of at most 63 '
                "alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric "
                "character (e.g. 'MyValue',  or 'my_value',  or '12345')"
            )
            causes.append(("metadata.labels", "FieldValueInvalid", text))
    for key in metadata.get("annotations") or {}:
        if not _KEY.match(key):
            text = f'Invalid value: "{key}": not an annotation key'
            causes.append(("metadata.annotations", "FieldValueInvalid", text))
    if causes:
        raise errors.invalid(resource, name, causes)


def _name_faults(resource: Resource, name: str) -> list[str]:
    if not name:
        return ["Required value: name or generateName is required"]
    if resource.group == "rbac.authorization.k8s.io":
        bad = name in (".", "..") or "/" in name or "%" in name
        return [f"Invalid value: \"{name}\": may not contain '/' or '%'"] if bad else []
    if resource.id == "namespaces":
        regex, limit, text = _LABEL, 63, _LABEL_TEXT
    elif resource.id == "services":
        regex, limit, text = _LABEL_1035, 63, _LABEL_1035_TEXT
    else:
        regex, limit, text = _SUBDOMAIN, 253, _SUBDOMAIN_TEXT
    faults = []
    if len(name) > limit:
        faults.append(f'Invalid value: "{name}": must be no more than {limit} characters')
    if not regex.match(name) or name.endswith("\n"):
        faults.append(f'Invalid value: "{name}": {text}')
    return faults


def check_shape(obj: dict[str, Any]) -> None:
    """Refuse metadata of the wrong types, so that everything after may rely on them (400)."""
    metadata = obj.get("metadata")
    if metadata is None:
        metadata = obj["metadata"] = {}
    if not isinstance(metadata, dict):
        raise errors.bad_request("metadata must be an object")
    for field in ("name", "namespace", "generateName", "uid", "resourceVersion"):
        if metadata.get(field) is None:
            metadata.pop(field, None)
        elif not isinstance(metadata[field], str):
            raise errors.bad_request(f"metadata.{field} must be a string")
    for field in ("labels", "annotations"):
        value = metadata.get(field)
        if value is None:
            metadata.pop(field, None)
        elif not isinstance(value, dict) or not all(isinstance(v, str) for v in value.values()):
            raise errors.bad_request(f"metadata.{field} must map strings to strings")
    for field, item_type in (("finalizers", str), ("ownerReferences", dict)):
        value = metadata.get(field)
        if value is None:
            metadata.pop(field, None)
        elif not isinstance(value, list) or not all(isinstance(v, item_type) for v in value):
            raise errors.bad_request(f"metadata.{field} must be a list")
    for field in ("spec", "status"):
        if field in obj and obj[field] is None:
            del obj[field]
