"""OpenAPI documents, as far as clients ask: which resources take which parameters, and CRD schemas.

kubectl decides by them whether the server validates fields and knows dry runs. The schemas of built-in
kinds are open objects, so `kubectl explain` tells their kind only; those of CRDs are complete. In version 2
the built-in kinds have none at all, which makes older clients leave validation to the server.
"""

from __future__ import annotations

import hashlib
from typing import Any, Final

from pycalico.apiserver.kinds import Resource
from pycalico.apiserver.registry import Registry

Obj = dict[str, Any]

_INFO: Final = {"title": "Kubernetes", "version": "v1.29.0"}
_PARAMETERS: Final = ("dryRun", "fieldManager", "fieldValidation", "pretty")
_METHODS: Final = {"create": "post", "update": "put", "patch": "patch"}


def index(registry: Registry) -> Obj:
    paths = {}
    for resource in registry.all():
        path = f"apis/{resource.group}/{resource.version}" if resource.group else f"api/{resource.version}"
        mark = hashlib.sha256(f"{path} {registry.revision}".encode()).hexdigest().upper()
        paths[path] = {"serverRelativeURL": f"/openapi/v3/{path}?hash={mark}"}
    return {"paths": paths}


def _schema_name(resource: Resource) -> str:
    if resource.group.endswith(".k8s.io") or "." not in resource.group:
        area = resource.group.split(".")[0] or "core"
        return f"io.k8s.api.{area}.{resource.version}.{resource.kind}"
    return f"{'.'.join(reversed(resource.group.split('.')))}.{resource.version}.{resource.kind}"


def _kind(resource: Resource) -> Obj:
    return {"group": resource.group, "version": resource.version, "kind": resource.kind}


def _schema(resource: Resource) -> Obj:
    schema = dict(resource.schema or {"type": "object", "x-kubernetes-preserve-unknown-fields": True})
    schema["x-kubernetes-group-version-kind"] = [_kind(resource)]
    schema["properties"] = {
        **(schema.get("properties") or {}),
        "apiVersion": {"type": "string"},
        "kind": {"type": "string"},
        "metadata": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
    }
    return schema


def _paths(resource: Resource, parameter_schema: bool) -> Obj:
    base = f"/apis/{resource.group}/{resource.version}" if resource.group else f"/api/{resource.version}"
    if resource.namespaced:
        base += "/namespaces/{namespace}"
    collection, item = f"{base}/{resource.plural}", f"{base}/{resource.plural}/{{name}}"

    def operation(action: str) -> Obj:
        kind = {"schema": {"type": "string"}} if parameter_schema else {"type": "string"}
        return {
            "operationId": f"{action}{resource.group.title().replace('.', '')}{resource.version.title()}{resource.kind}",
            "parameters": [{"name": name, "in": "query", **kind} for name in _PARAMETERS],
            "responses": {"200": {"description": "OK"}},
            "x-kubernetes-action": action,
            "x-kubernetes-group-version-kind": _kind(resource),
        }

    paths: Obj = {collection: {}, item: {}}
    for verb, method in _METHODS.items():
        if verb in resource.verbs:
            paths[collection if verb == "create" else item][method] = operation(verb)
    return paths


def version_3(registry: Registry, group: str, version: str) -> Obj:
    rows = [r for r in registry.all() if (r.group, r.version) == (group, version)]
    paths: Obj = {}
    for row in rows:
        paths |= _paths(row, parameter_schema=True)
    schemas = {_schema_name(row): _schema(row) for row in rows}
    return {"openapi": "3.0.0", "info": _INFO, "paths": paths, "components": {"schemas": schemas}}


def version_2(registry: Registry) -> Obj:
    paths: Obj = {}
    definitions: Obj = {}
    for row in registry.all():
        paths |= _paths(row, parameter_schema=False)
        if row.schema is not None:
            definitions[_schema_name(row)] = _schema(row)
    return {"swagger": "2.0", "info": _INFO, "paths": paths, "definitions": definitions}
