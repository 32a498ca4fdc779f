"""Structural schemas of CRDs: pruning, defaulting and validation of custom objects.

Covers the OpenAPI v3 subset that apiextensions.k8s.io/v1 allows in a structural schema, without CEL rules.
"""

from __future__ import annotations

import copy
import functools
import ipaddress
import math
import re
from collections.abc import Iterator
from typing import Any

Obj = dict[str, Any]
Cause = tuple[str, str, str]  # field, reason, message

_TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "boolean": (bool,),
    "integer": (int,),
    "number": (int, float),
}
_FORMATS = {
    "date-time": re.compile(r"^\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)$"),
    "date": re.compile(r"^\d{4}-\d\d-\d\d$"),
    "uuid": re.compile(r"^[0-9a-fA-F]{8}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{12}$"),
    "byte": re.compile(r"^[A-Za-z0-9+/]*={0,2}$"),
}


@functools.lru_cache(maxsize=512)
def _pattern(text: str) -> re.Pattern[str] | None:
    try:
        return re.compile(text.replace(r"\z", r"\Z"))
    except re.error:
        return None  # RE2 syntax that Python lacks: checked by nobody rather than refusing good objects


def prune(value: Any, schema: Obj, path: str = "", *, root: bool = True) -> list[str]:
    """Drop the fields the schema does not know, in place; the paths of what was dropped are returned."""
    dropped: list[str] = []
    if isinstance(value, dict):
        properties = schema.get("properties") or {}
        extra = schema.get("additionalProperties")
        keep = bool(schema.get("x-kubernetes-preserve-unknown-fields")) or extra is True
        embedded = root or bool(schema.get("x-kubernetes-embedded-resource"))
        for key in list(value):
            below = f"{path}.{key}" if path else key
            if embedded and key in ("apiVersion", "kind", "metadata"):
                continue
            if key in properties:
                dropped += prune(value[key], properties[key], below, root=False)
            elif isinstance(extra, dict):
                dropped += prune(value[key], extra, below, root=False)
            elif not keep:
                del value[key]
                dropped.append(below)
    elif isinstance(value, list) and isinstance(schema.get("items"), dict):
        for index, item in enumerate(value):
            dropped += prune(item, schema["items"], f"{path}[{index}]", root=False)
    return dropped


def set_defaults(value: Any, schema: Obj) -> None:
    """Fill absent fields, and nulls of fields that are not nullable, from the schema's defaults, in place."""
    if isinstance(value, dict):
        for key, below in (schema.get("properties") or {}).items():
            if "default" in below and (
                key not in value or (value[key] is None and not below.get("nullable"))
            ):
                value[key] = copy.deepcopy(below["default"])
            elif key in value and value[key] is None and not below.get("nullable"):
                del value[key]  # a null where none is allowed counts as absent
            if key in value:
                set_defaults(value[key], below)
        extra = schema.get("additionalProperties")
        if isinstance(extra, dict):
            known = schema.get("properties") or {}
            for key, item in value.items():
                if key not in known:
                    set_defaults(item, extra)
    elif isinstance(value, list) and isinstance(schema.get("items"), dict):
        for item in value:
            set_defaults(item, schema["items"])


def validate(value: Any, schema: Obj, path: str = "") -> Iterator[Cause]:
    """Yield what is wrong with a value, in the words of Kubernetes' field errors."""
    if value is None:
        if not schema.get("nullable") and schema.get("type"):
            yield _type_cause(path, value, schema["type"])
        return
    kind = schema.get("type")
    if schema.get("x-kubernetes-int-or-string"):
        if isinstance(value, bool) or not isinstance(value, int | str):
            yield _type_cause(path, value, "integer,string")
            return
    elif kind and not _is(value, kind):
        yield _type_cause(path, value, kind)
        return
    yield from _scalar(value, schema, path)
    if isinstance(value, dict):
        yield from _object(value, schema, path)
    elif isinstance(value, list):
        yield from _array(value, schema, path)
    yield from _combined(value, schema, path)


def _is(value: Any, kind: str) -> bool:
    if isinstance(value, bool):
        return kind == "boolean"
    if kind == "integer" and isinstance(value, float):
        return value.is_integer()
    return isinstance(value, _TYPES.get(kind, (object,)))


def _type_name(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    return {dict: "object", list: "array", str: "string", int: "integer"}.get(type(value), "number")


def _type_cause(path: str, value: Any, kind: str) -> Cause:
    message = (
        f'Invalid value: "{_type_name(value)}": {path} in body must be of type {kind}: "{_type_name(value)}"'
    )
    return path, "FieldValueTypeInvalid", message


def _bad(path: str, value: Any, why: str) -> Cause:
    shown = f'"{value}"' if isinstance(value, str) else _shown(value)
    return path, "FieldValueInvalid", f"Invalid value: {shown}: {path} in body {why}"


def _shown(value: Any) -> str:
    if isinstance(value, dict | list):
        return f'"{_type_name(value)}"'
    return str(value).lower() if isinstance(value, bool) else str(value)


def _scalar(value: Any, schema: Obj, path: str) -> Iterator[Cause]:
    if (allowed := schema.get("enum")) is not None and value not in allowed:
        listed = ", ".join(f'"{item}"' for item in allowed)
        shown = f'"{value}"' if isinstance(value, str) else _shown(value)
        yield path, "FieldValueNotSupported", f"Unsupported value: {shown}: supported values: {listed}"
    if isinstance(value, str):
        if (pattern := schema.get("pattern")) and (regex := _pattern(pattern)) and not regex.search(value):
            yield _bad(path, value, f"should match '{pattern}'")
        if len(value) > schema.get("maxLength", math.inf):
            yield _too(path, "long", f"may not be more than {schema['maxLength']} bytes")
        if len(value) < schema.get("minLength", 0):
            yield _bad(path, value, f"should be at least {schema['minLength']} chars long")
        if (name := schema.get("format")) and not _has_format(value, name):
            yield _bad(path, value, f'must be of type {name}: "{value}"')
    elif isinstance(value, int | float) and not isinstance(value, bool):
        if "minimum" in schema:
            strict, bound = schema.get("exclusiveMinimum"), schema["minimum"]
            if value < bound or (strict and value == bound):
                word = "greater than" if strict else "greater than or equal to"
                yield _bad(path, value, f"should be {word} {bound}")
        if "maximum" in schema:
            strict, bound = schema.get("exclusiveMaximum"), schema["maximum"]
            if value > bound or (strict and value == bound):
                word = "less than" if strict else "less than or equal to"
                yield _bad(path, value, f"should be {word} {bound}")
        if (step := schema.get("multipleOf")) and value % step:
            yield _bad(path, value, f"should be a multiple of {step}")
        if schema.get("format") == "int32" and not -(2**31) <= value < 2**31:
            yield _bad(path, value, "should be a 32-bit integer")


def _too(path: str, what: str, why: str) -> Cause:
    return path, f"FieldValueToo{what.capitalize()}", f"Too {what}: {why}"


def _has_format(value: str, name: str) -> bool:
    if regex := _FORMATS.get(name):
        return bool(regex.match(value))
    try:
        match name:
            case "ipv4":
                ipaddress.IPv4Address(value)
            case "ipv6":
                ipaddress.IPv6Address(value)
            case "cidr":
                ipaddress.ip_interface(value)
    except ValueError:
        return False
    return True


def _object(value: Obj, schema: Obj, path: str) -> Iterator[Cause]:
    properties = schema.get("properties") or {}
    for name in schema.get("required") or ():
        if name not in value:
            yield f"{path}.{name}" if path else name, "FieldValueRequired", "Required value"
    count = len(value)
    if count > schema.get("maxProperties", math.inf):
        yield _too(path, "many", f"{count}: must have at most {schema['maxProperties']} items")
    if count < schema.get("minProperties", 0):
        yield _bad(path, value, f"should have at least {schema['minProperties']} properties")
    extra = schema.get("additionalProperties")
    for key, item in value.items():
        below = f"{path}.{key}" if path else key
        if key in properties:
            yield from validate(item, properties[key], below)
        elif isinstance(extra, dict):
            yield from validate(item, extra, below)


def _array(value: list[Any], schema: Obj, path: str) -> Iterator[Cause]:
    count = len(value)
    if count > schema.get("maxItems", math.inf):
        yield _too(path, "many", f"{count}: must have at most {schema['maxItems']} items")
    if count < schema.get("minItems", 0):
        yield _bad(path, value, f"should have at least {schema['minItems']} items")
    if isinstance(items := schema.get("items"), dict):
        for index, item in enumerate(value):
            yield from validate(item, items, f"{path}[{index}]")
    kind = schema.get("x-kubernetes-list-type")
    if schema.get("uniqueItems") or kind in ("set", "map"):
        keys = schema.get("x-kubernetes-list-map-keys") or ()
        seen: set[str] = set()
        for index, item in enumerate(value):
            identity = {k: item.get(k) for k in keys} if kind == "map" and isinstance(item, dict) else item
            if (mark := repr(identity)) in seen:
                yield f"{path}[{index}]", "FieldValueDuplicate", f"Duplicate value: {_shown(item)}"
            seen.add(mark)


def _combined(value: Any, schema: Obj, path: str) -> Iterator[Cause]:
    for below in schema.get("allOf") or ():
        yield from validate(value, below, path)
    if (options := schema.get("anyOf")) and not schema.get("x-kubernetes-int-or-string"):
        fits = [not any(validate(value, below, path)) for below in options]
        if not any(fits):
            yield _bad(path, value, "must validate at least one schema (anyOf)")
    if options := schema.get("oneOf"):
        fitting = sum(not any(validate(value, below, path)) for below in options)
        if fitting != 1:
            yield _bad(path, value, f"must validate one and only one schema (oneOf). Found {fitting} valid")
    if (denied := schema.get("not")) and not any(validate(value, denied, path)):
        yield _bad(path, value, "must not validate the schema (not)")
