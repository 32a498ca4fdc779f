"""OpenAPI v2 in the protobuf form that kubectl before 1.28 insists on.

Field numbers are those of gnostic's OpenAPIv2.proto. Encoded are the operations with their query
parameters, by which kubectl tells what the server can do (dry run, field validation), and the schemas of
CRDs, which its own validation and `explain` use. Kinds without a schema are not validated by it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import msgspec

ACCEPT: Final = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf"
CONTENT_TYPE: Final = ACCEPT.replace("@", ".")  # "@" is no letter of a media type, and Go's parser refuses it
Obj = dict[str, Any]
_OPERATIONS: Final = {"put": 3, "post": 4, "patch": 8}
_KIND: Final = "x-kubernetes-group-version-kind"


def _varint(number: int) -> bytes:
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def _field(number: int, value: bytes | str) -> bytes:
    data = value.encode() if isinstance(value, str) else value
    return _varint(number << 3 | 2) + _varint(len(data)) + data


def encode(document: Obj) -> bytes:
    """Encode a document as `openapi.version_2` makes it."""
    info = _field(1, document["info"]["title"]) + _field(2, document["info"]["version"])
    paths = b"".join(
        _field(2, _field(1, path) + _field(2, _path(item))) for path, item in document["paths"].items()
    )
    definitions = b"".join(
        _field(1, _field(1, name) + _field(2, _schema(schema)))
        for name, schema in document["definitions"].items()
        if "properties" in schema
    )
    return _field(1, "2.0") + _field(2, info) + _field(8, paths) + _field(9, definitions)


def _extension(number: int, name: str, value: Any) -> bytes:
    # JSON is YAML, which is what the reader parses here.
    return _field(number, _field(1, name) + _field(2, _field(2, msgspec.json.encode(value))))


def _path(item: Obj) -> bytes:
    return b"".join(_field(_OPERATIONS[method], _operation(o)) for method, o in item.items())


def _operation(operation: Obj) -> bytes:
    parameters: Iterable[bytes] = (
        _field(2, "query") + _field(4, p["name"]) + _field(6, "string") for p in operation["parameters"]
    )
    wrapped = b"".join(_field(8, _field(1, _field(2, _field(3, p)))) for p in parameters)
    return _field(5, operation["operationId"]) + wrapped + _extension(13, _KIND, operation[_KIND])


def _schema(schema: Obj) -> bytes:
    parts = []
    if schema.get("description"):
        parts.append(_field(4, schema["description"]))
    parts += [_field(19, name) for name in schema.get("required") or ()]
    if isinstance(schema.get("additionalProperties"), dict):
        parts.append(_field(21, _field(1, _schema(schema["additionalProperties"]))))
    if schema.get("type"):
        parts.append(_field(22, _field(1, schema["type"])))
    if isinstance(schema.get("items"), dict):
        parts.append(_field(23, _field(1, _schema(schema["items"]))))
    if schema.get("properties"):
        members = (
            _field(1, name) + _field(2, _schema(below)) for name, below in schema["properties"].items()
        )
        parts.append(_field(25, b"".join(_field(1, member) for member in members)))
    if _KIND in schema:
        parts.append(_extension(31, _KIND, schema[_KIND]))
    return b"".join(parts)
