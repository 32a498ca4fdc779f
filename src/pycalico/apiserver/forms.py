"""The forms an answer can take: as stored, a Table, metadata only, another version of a custom resource."""

from __future__ import annotations

from typing import Any

import msgspec

from pycalico.apiserver import errors, store, tables
from pycalico.apiserver.connection import Response
from pycalico.apiserver.http1 import Request
from pycalico.apiserver.kinds import Resource
from pycalico.apiserver.watching import Shown

Obj = dict[str, Any]
_encode = msgspec.json.encode


def form_of(request: Request, resource: Resource) -> Shown | None:
    """How entries are shown to this client; None: as stored."""
    accept = request.headers.get("accept", "")
    if "as=Table" in accept:
        include = request.query.get("includeObject", "Metadata")

        def table(entry: store.Entry) -> bytes:
            version = {"resourceVersion": entry.obj["metadata"].get("resourceVersion", "")}
            return _encode(tables.render(resource, [entry.obj], version, include))

        return table
    if "as=PartialObjectMetadata" in accept:
        return lambda entry: _encode(_partial(entry.obj))
    if resource.storage_version and resource.version != resource.storage_version:
        return lambda entry: _encode({**entry.obj, "apiVersion": resource.api_version})
    return None


def _partial(obj: Obj) -> Obj:
    return {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": obj["metadata"]}


def list_body(
    request: Request, resource: Resource, found: list[store.Entry], metadata: Obj, shown: Shown | None
) -> bytes:
    accept = request.headers.get("accept", "")
    if "as=Table" in accept:
        include = request.query.get("includeObject", "Metadata")
        return _encode(tables.render(resource, (e.obj for e in found), metadata, include))
    kind, version = resource.wire_list_kind, resource.api_version
    if "as=PartialObjectMetadata" in accept:
        kind, version = "PartialObjectMetadataList", "meta.k8s.io/v1"
    items = b",".join([shown(entry) for entry in found] if shown else [entry.raw for entry in found])
    head = _encode({"kind": kind, "apiVersion": version, "metadata": metadata})
    return head[:-1] + b',"items":[' + items + b"]}"


def failure(text: str) -> Response:
    return Response(500, _encode(errors.internal(text).to_wire()))


def quoted(text: str) -> str:
    return "".join(c for c in text if c.isprintable()).replace("\\", "\\\\").replace('"', '\\"')
