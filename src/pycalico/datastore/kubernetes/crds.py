"""The CustomResourceDefinitions of crd.projectcalico.org/v1, made from the resource model.

Names and scopes are upstream's. A schema is as permissive as upstream's or more: it gives types, requires
nothing, and leaves meaning to validation in the clients, which also see what a schema cannot express.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Iterator
from typing import Any

import msgspec

from pycalico.api.kinds import KINDS, Kind
from pycalico.api.meta import CRD_GROUP, ObjectMeta

_VERSION = "v1"
#: Only this field has a default in upstream's CRDs: objects written before it existed must still be valid.
_DEFAULTS = {("IPAMBlock", "sequenceNumber"): 0}


def crds() -> list[dict[str, Any]]:
    """All definitions, in order of their names."""
    return [_definition(kind) for kind in KINDS.values() if kind.crd]


def _definition(kind: Kind) -> dict[str, Any]:
    schema = {
        "type": "object",
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"type": "object"},
            **dict(_properties(kind.type, kind.name, skip=("kind", "apiVersion", "metadata"))),
        },
    }
    names = {
        "kind": kind.name,
        "listKind": f"{kind.name}List",
        "plural": kind.plural,
        "singular": kind.name.lower(),
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{kind.plural}.{CRD_GROUP}"},
        "spec": {
            "group": CRD_GROUP,
            "names": names,
            "preserveUnknownFields": False,
            "scope": "Namespaced" if kind.namespaced else "Cluster",
            "versions": [
                {"name": _VERSION, "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
            ],
        },
    }


def _properties(struct: type, kind: str, skip: tuple[str, ...] = ()) -> Iterator[tuple[str, dict[str, Any]]]:
    for field in msgspec.structs.fields(struct):
        name = field.encode_name
        if name in skip:
            continue
        schema = _schema(field.type, kind)
        if (kind, name) in _DEFAULTS:
            schema["default"] = _DEFAULTS[kind, name]
        yield name, schema


def _schema(hint: Any, kind: str) -> dict[str, Any]:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        inner = [argument for argument in arguments if argument is not type(None)]
        if set(inner) == {int, str}:
            return {"anyOf": [{"type": "integer"}, {"type": "string"}], "x-kubernetes-int-or-string": True}
        schema = _schema(inner[0], kind)
        # A free address in a block is a null; nowhere else does upstream write one.
        return schema | {"nullable": True} if inner[0] is int and kind == "IPAMBlock" else schema
    if origin is list:
        return {"type": "array", "items": _schema(arguments[0], kind)}
    if origin is dict:
        return {"type": "object", "additionalProperties": _schema(arguments[1], kind)}
    if hint is ObjectMeta:
        return {"type": "object"}
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        return {"type": "object", "properties": dict(_properties(hint, kind))}
    return dict(_SCALARS[hint])


_SCALARS: dict[Any, dict[str, str]] = {
    str: {"type": "string"},
    bool: {"type": "boolean"},
    int: {"type": "integer", "format": "int64"},
    float: {"type": "number"},
}
