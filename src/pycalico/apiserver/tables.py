"""Tables: the rows `kubectl get` prints, with the columns a kube-apiserver has for each kind."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pycalico.apiserver import columns as built_in
from pycalico.apiserver import printercolumns
from pycalico.apiserver.columns import Column
from pycalico.apiserver.kinds import Resource

Obj = dict[str, Any]


def render(resource: Resource, objects: Iterable[Obj], metadata: Obj, include: str) -> Obj:
    """Make a meta.k8s.io/v1 Table; ``include`` is None, Metadata or Object, as in includeObject."""
    columns = columns_of(resource)
    rows = []
    for obj in objects:
        row: Obj = {"cells": [_cell(column, obj) for column in columns]}
        if include == "Object":
            row["object"] = obj
        elif include != "None":
            row["object"] = {
                "kind": "PartialObjectMetadata",
                "apiVersion": "meta.k8s.io/v1",
                "metadata": obj["metadata"],
            }
        rows.append(row)
    return {
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": metadata,
        "columnDefinitions": [
            {
                "name": name,
                "type": kind,
                "format": "name" if name == "Name" else "",
                "description": "",
                "priority": priority,
            }
            for name, kind, priority, _ in columns
        ],
        "rows": rows,
    }


def _cell(column: Column, obj: Obj) -> Any:
    try:
        return column[3](obj)
    except (AttributeError, KeyError, TypeError, ValueError, IndexError):
        return "<unknown>"  # an object that does not have the usual form still has its row


def columns_of(resource: Resource) -> tuple[Column, ...]:
    if resource.columns is None:
        return built_in.BY_ID.get(resource.id, (built_in.NAME, built_in.AGE))
    return (built_in.NAME, *(printercolumns.make_column(column) for column in resource.columns))
