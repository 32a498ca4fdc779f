r"""Request bodies in protobuf, for the kinds that client-go programs write in it.

client-go with ``ContentType: application/vnd.kubernetes.protobuf`` (Calico's own programs set it) sends
built-in kinds as ``k8s\0`` + an Unknown envelope: node status updates of calico-node and calicoctl, token
requests, what kubectl 1.33 creates. Kinds without a table are refused with 415, which client-go reports as
it is. Answers are always JSON, which such clients accept.

Field numbers and names are those of the types of k8s.io/api, k8s.io/apimachinery and k8s.io/apiextensions-apiserver v0.28.12.
"""

from __future__ import annotations

import base64
import datetime as dt
import functools
import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from pycalico.apiserver import errors

Obj = dict[str, Any]
CONTENT_TYPE: Final = "application/vnd.kubernetes.protobuf"
_SCHEMA: Final = "apiextensions.JSONSchemaProps"
_MAGIC: Final = b"k8s\x00"
_DEPTH: Final = 40  # a schema within a schema counts

# protobuf_fields.txt has a line for each message: "Message: number name type, ...", prefixed by its group
# outside of the core and meta groups. Types: s string, i integer, b boolean, y bytes, m map to strings, d map
# to bytes, q map to quantities, Q quantity, I integer or string, t time, u time with microseconds, f floating
# point, J any JSON, A a schema or a list of them, B a schema or a boolean, { and a name: map to such messages, or
# the name of a message. Suffix * repeated; suffix ! a pointer in Go (or always written to JSON), whose zero is a value;
# others at zero are what JSON would leave out. The name "." stands for fields that JSON has one level up.
_ENVELOPE: Final = {
    "Unknown": {1: ("typeMeta", "TypeMeta", False, False), 2: ("raw", "raw", False, False)},
    "TypeMeta": {1: ("apiVersion", "s", False, False), 2: ("kind", "s", False, False)},
}
_Table = dict[int, tuple[str, str, bool, bool]]


@functools.cache
def _tables() -> dict[str, _Table]:
    lines = Path(__file__).with_name("protobuf_fields.txt").read_text().splitlines()
    found: dict[str, _Table] = dict(_ENVELOPE)
    for line in lines:
        name, _, fields = line.partition(":")
        found[name] = _table(fields.strip())
    return found


def _table(text: str) -> _Table:
    rows = {}
    for field in text.split(", ") if text else []:
        number, name, kind = field.split(" ")
        rows[int(number)] = (name, kind.rstrip("*!"), kind.endswith("*"), kind.endswith("!"))
    return rows


def _name_of(api_version: str, kind: str) -> str:
    group = api_version.rpartition("/")[0].split(".")[0]
    return f"{group}.{kind}" if group and kind != "DeleteOptions" else kind


def decode(body: bytes) -> Obj:
    """Decode a request body to the object its JSON would give.

    Raises:
        errors.StatusError: 400, not such a body; 415, a kind that is not decoded here.
    """
    if not body.startswith(_MAGIC):
        raise errors.bad_request("the body does not start as Kubernetes' protobuf encoding does")
    try:
        envelope = _message(memoryview(body)[4:], "Unknown", 0)
        about = envelope.get("typeMeta", {})
        kind = about.get("kind", "")
        name = _name_of(about.get("apiVersion", ""), kind)
        if name not in _tables() or kind in _ENVELOPE:
            raise errors.unsupported_media_type(f"{CONTENT_TYPE} of {kind}", "application/json")
        obj = _message(memoryview(envelope.get("raw", b"")), name, 0)
    except (ValueError, IndexError, OverflowError, UnicodeDecodeError):
        raise errors.bad_request("the body is not valid protobuf") from None
    return {"apiVersion": about.get("apiVersion", ""), "kind": kind, **obj}


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
        if shift > 63:
            raise ValueError


def _fields(data: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        match tag & 7:
            case 0:
                number, at = _varint(data, at)
                yield tag >> 3, number
                continue
            case 2:
                size, at = _varint(data, at)
            case 1:
                size = 8
            case 5:
                size = 4
            case _:
                raise ValueError
        if at + size > len(data):
            raise ValueError
        yield tag >> 3, data[at : at + size]
        at += size


def _signed(number: int) -> int:
    return number - (1 << 64) if number >= 1 << 63 else number


def _int32(number: int) -> int:
    number &= (1 << 32) - 1
    return number - (1 << 32) if number >= 1 << 31 else number


def _message(data: memoryview, name: str, depth: int) -> Obj:
    if depth > _DEPTH:
        raise ValueError
    table = _tables()[name]
    result: Obj = {}
    for number, raw in _fields(data):
        row = table.get(number)
        if row is None:
            continue
        field, kind, repeated, pointer = row
        if kind in ("m", "d", "q"):
            key, value = _pair(raw, kind)
            result.setdefault(field, {})[key] = value
            continue
        if kind.startswith("{"):
            name_of, body = _entry(raw)
            result.setdefault(field, {})[name_of] = _message(body, kind[1:], depth + 1)
            continue
        value = _value(raw, kind, depth)
        if field == ".":
            result.update(value)
        elif repeated:
            result.setdefault(field, []).append(value)
        elif pointer or value:
            result[field] = value
    return result


def _value(raw: int | memoryview, kind: str, depth: int) -> Any:
    if isinstance(raw, int):
        if kind not in ("i", "b"):
            raise ValueError
        return bool(raw) if kind == "b" else _signed(raw)
    match kind:
        case "s":
            return bytes(raw).decode()
        case "raw":
            return bytes(raw)
        case "y":
            return base64.b64encode(raw).decode()
        case "Q":
            text = dict(_fields(raw)).get(1, memoryview(b""))
            return "" if isinstance(text, int) else bytes(text).decode()
        case "I":
            parts = dict(_fields(raw))
            number, text = parts.get(2, 0), parts.get(3, memoryview(b""))
            if parts.get(1) == 1:
                return "" if isinstance(text, int) else bytes(text).decode()
            return _int32(number) if isinstance(number, int) else 0
        case "t" | "u":
            return _time(raw, micro=kind == "u")
        case "f":
            (number,) = struct.unpack("<d", raw)
            return int(number) if number.is_integer() else number
        case "J":
            text = dict(_fields(raw)).get(1, memoryview(b"null"))
            return None if isinstance(text, int) else json.loads(bytes(text))
        case "A" | "B":
            return _schema(raw, kind, depth)
        case "i" | "b":
            raise ValueError
    return _message(raw, kind, depth + 1)


def _schema(raw: memoryview, kind: str, depth: int) -> Any:
    """JSONSchemaPropsOrArray and JSONSchemaPropsOrBool: the schema if there is one, else the other."""
    others: list[Any] = []
    allows = False
    for number, part in _fields(raw):
        if isinstance(part, int):
            allows = bool(part)
        elif number == (1 if kind == "A" else 2):
            return _message(part, _SCHEMA, depth + 1)
        else:
            others.append(_message(part, _SCHEMA, depth + 1))
    return others if kind == "A" else allows


def _entry(raw: int | memoryview) -> tuple[str, memoryview]:
    """Key and value of a map to messages."""
    if isinstance(raw, int):
        raise ValueError  # noqa: TRY004 (all malformed input is one error)
    parts = dict(_fields(raw))
    key, value = parts.get(1, memoryview(b"")), parts.get(2, memoryview(b""))
    if isinstance(key, int) or isinstance(value, int):
        raise ValueError  # noqa: TRY004
    return bytes(key).decode(), value


def _pair(raw: int | memoryview, kind: str) -> tuple[str, str]:
    if isinstance(raw, int):
        raise ValueError  # noqa: TRY004 (all malformed input is one error)
    parts = dict(_fields(raw))
    key, value = parts.get(1, memoryview(b"")), parts.get(2, memoryview(b""))
    if isinstance(key, int) or isinstance(value, int):
        raise ValueError  # noqa: TRY004
    if kind == "q":
        text = dict(_fields(value)).get(1, memoryview(b""))
        if isinstance(text, int):
            raise ValueError
        return bytes(key).decode(), bytes(text).decode()
    if kind == "d":
        return bytes(key).decode(), base64.b64encode(value).decode()
    return bytes(key).decode(), bytes(value).decode()


def _time(raw: memoryview, *, micro: bool) -> str | None:
    parts = dict(_fields(raw))
    seconds, nanos = parts.get(1, 0), parts.get(2, 0)
    if not isinstance(seconds, int) or not isinstance(nanos, int) or not seconds:
        return None
    moment = dt.datetime.fromtimestamp(_signed(seconds), dt.UTC)
    text = moment.strftime("%Y-%m-%dT%H:%M:%S")
    return f"{text}.{nanos // 1000:06d}Z" if micro else f"{text}Z"
