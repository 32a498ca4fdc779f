"""The four patch languages, as functions from (object, patch) to a new object; inputs stay as they are.

JSON patch is RFC 6902, merge patch RFC 7386, strategic merge patch Kubernetes' own (directives ``$patch``,
``$retainKeys``, ``$setElementOrder/…``, ``$deleteFromPrimitiveList/…``). Server-side apply here is a merge
that knows list keys, without field ownership: fields that vanish from the applied configuration stay.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from pycalico.apiserver.mergekeys import PLAIN, Shape

Obj = dict[str, Any]
MAX_OPERATIONS = 10_000


class PatchError(Exception):
    """The patch is malformed or does not fit the object; the text says how."""


def merge_patch(target: Any, patch: Any) -> Any:
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merge_patch(result.get(key), value)
    return result


# --- JSON patch ---------------------------------------------------------------------------------------


def json_patch(target: Any, operations: Any) -> Any:
    if not isinstance(operations, list) or len(operations) > MAX_OPERATIONS:
        raise PatchError(f"a JSON patch is a list of at most {MAX_OPERATIONS} operations")
    document = copy.deepcopy(target)
    for operation in operations:
        if not isinstance(operation, dict) or not isinstance(operation.get("path"), str):
            raise PatchError("each operation of a JSON patch is an object with op and path")
        document = _apply_operation(document, operation)
    return document


def _apply_operation(document: Any, operation: Obj) -> Any:
    name = operation.get("op")
    path = _pointer(operation["path"])
    if name in ("add", "replace", "test") and "value" not in operation:
        raise PatchError(f"operation {name} needs a value")
    match name:
        case "test":
            if _look_up(document, path) != operation["value"]:
                raise PatchError(f"testing path {operation['path']} value failed")
            return document
        case "remove":
            return _remove(document, path)
        case "add":
            return _add(document, path, copy.deepcopy(operation["value"]))
        case "replace":
            _look_up(document, path)
            if path and isinstance(_look_up(document, path[:-1]), list):
                document = _remove(document, path)
            return _add(document, path, copy.deepcopy(operation["value"]))
        case "move" | "copy":
            source = _pointer(str(operation.get("from", "")))
            value = copy.deepcopy(_look_up(document, source))
            if name == "move":
                document = _remove(document, source)
            return _add(document, path, value)
    raise PatchError(f"unknown operation {name!r}")


def _pointer(text: str) -> list[str]:
    if text and not text.startswith("/"):
        raise PatchError(f"path {text!r} does not start with /")
    return [step.replace("~1", "/").replace("~0", "~") for step in text.split("/")[1:]]


def _index(items: list[Any], step: str, end: int) -> int:
    if not step.isdigit() or int(step) > end:
        raise PatchError(f"index {step!r} is outside the list of {len(items)}")
    return int(step)


def _look_up(document: Any, path: list[str]) -> Any:
    for step in path:
        if isinstance(document, list):
            document = document[_index(document, step, len(document) - 1)]
        elif isinstance(document, dict) and step in document:
            document = document[step]
        else:
            raise PatchError(f"path /{'/'.join(path)} does not exist")
    return document


def _add(document: Any, path: list[str], value: Any) -> Any:
    if not path:
        return value
    parent = _look_up(document, path[:-1])
    if isinstance(parent, list):
        at = len(parent) if path[-1] == "-" else _index(parent, path[-1], len(parent))
        parent.insert(at, value)
    elif isinstance(parent, dict):
        parent[path[-1]] = value
    else:
        raise PatchError(f"path /{'/'.join(path)} is inside a plain value")
    return document


def _remove(document: Any, path: list[str]) -> Any:
    if not path:
        return None
    _look_up(document, path)
    parent = _look_up(document, path[:-1])
    if isinstance(parent, list):
        del parent[int(path[-1])]
    else:
        del parent[path[-1]]
    return document


# --- strategic merge patch ------------------------------------------------------------------------------


def strategic_merge_patch(target: Any, patch: Any, shape: Shape) -> Any:
    if not isinstance(patch, dict):
        raise PatchError("a strategic merge patch is an object")
    return _merge_object(target if isinstance(target, dict) else {}, patch, shape)


def _merge_object(target: Mapping[str, Any], patch: Mapping[str, Any], shape: Shape) -> Obj:
    directive = patch.get("$patch")
    if directive == "replace":
        return {key: copy.deepcopy(value) for key, value in patch.items() if key != "$patch"}
    if directive == "delete":
        return {}
    if directive not in (None, "merge"):
        raise PatchError(f"unknown $patch directive {directive!r}")
    result = dict(target)
    if isinstance(retain := patch.get("$retainKeys"), list):
        result = {key: value for key, value in result.items() if key in retain}
    for key, value in patch.items():
        if key.startswith("$deleteFromPrimitiveList/"):
            field = key.partition("/")[2]
            gone = value if isinstance(value, list) else []
            result[field] = [item for item in result.get(field) or [] if item not in gone]
        elif key.startswith("$"):
            continue
        elif value is None:
            result.pop(key, None)
        elif isinstance(value, dict):
            have = result.get(key)
            below = shape.fields.get(key, PLAIN)
            result[key] = _merge_object(have if isinstance(have, dict) else {}, value, below)
        elif isinstance(value, list) and key in shape.keys:
            have = result.get(key)
            below = shape.fields.get(key, PLAIN)
            result[key] = _merge_list(have if isinstance(have, list) else [], value, shape.keys[key], below)
        else:
            result[key] = copy.deepcopy(value)
    for key, order in patch.items():
        if key.startswith("$setElementOrder/") and isinstance(order, list):
            field = key.partition("/")[2]
            if isinstance(result.get(field), list):
                result[field] = _in_order(result[field], order, shape.keys.get(field, ""))
    return result


def _merge_list(target: list[Any], patch: list[Any], merge_key: str, shape: Shape) -> list[Any]:
    if not merge_key:
        return target + [item for index, item in enumerate(patch) if item not in target + patch[:index]]
    if any(isinstance(item, dict) and item.get("$patch") == "replace" for item in patch):
        return [copy.deepcopy(i) for i in patch if not (isinstance(i, dict) and i.get("$patch") == "replace")]
    result = list(target)
    for item in patch:
        if not isinstance(item, dict):
            raise PatchError(f"a list that merges by {merge_key} holds objects only")
        if merge_key not in item:
            raise PatchError(f"map: {item} does not contain declared merge key: {merge_key}")
        at = next(
            (i for i, have in enumerate(result) if isinstance(have, dict) and _same(have, item, merge_key)),
            None,
        )
        if item.get("$patch") == "delete":
            if at is not None:
                del result[at]
        elif at is None:
            result.append(_merge_object({}, item, shape))
        else:
            result[at] = _merge_object(result[at], item, shape)
    return result


def _same(have: Obj, item: Obj, merge_key: str) -> bool:
    return bool(have.get(merge_key) == item[merge_key])


def _in_order(items: list[Any], order: list[Any], merge_key: str) -> list[Any]:
    """Put the items named in ``order`` in that order; others stay after the item they followed."""

    def place(item: Any) -> int | None:
        for index, wanted in enumerate(order):
            same = (
                isinstance(wanted, dict)
                and isinstance(item, dict)
                and wanted.get(merge_key) == item.get(merge_key)
                if merge_key
                else wanted == item
            )
            if same:
                return index
        return None

    rank = -1
    ranked: list[tuple[int, int, Any]] = []
    for position, item in enumerate(items):
        at = place(item)
        rank = rank if at is None else at
        ranked.append((rank, position if at is None else -1, item))
    ranked.sort(key=lambda entry: entry[:2])
    return [item for _, _, item in ranked]


# --- apply ------------------------------------------------------------------------------------------------


def apply_merge(target: Any, applied: Any, shape: Shape) -> Any:
    """Lay an applied configuration over what is stored; lists with keys merge by them, others replace."""
    if not isinstance(applied, dict) or not isinstance(target, dict):
        return copy.deepcopy(applied)
    result = dict(target)
    for key, value in applied.items():
        have = result.get(key)
        below = shape.fields.get(key, PLAIN)
        if value is None:
            result.pop(key, None)
        elif isinstance(value, list) and isinstance(have, list) and key in shape.keys:
            keys = shape.apply_keys.get(key) or ((shape.keys[key],) if shape.keys[key] else ())
            result[key] = _apply_list(have, value, keys, below)
        else:
            result[key] = apply_merge(have, value, below)
    return result


def _apply_list(target: list[Any], applied: list[Any], keys: tuple[str, ...], shape: Shape) -> list[Any]:
    if not keys:
        return target + [item for item in applied if item not in target]
    defaults = {"protocol": "TCP"}

    def identity(item: Any) -> tuple[Any, ...]:
        return tuple(item.get(key, defaults.get(key)) for key in keys) if isinstance(item, dict) else (item,)

    result = list(target)
    places = {repr(identity(item)): index for index, item in enumerate(result)}
    for item in applied:
        at = places.get(repr(identity(item)))
        if at is None:
            result.append(copy.deepcopy(item))
        else:
            result[at] = apply_merge(result[at], item, shape)
    return result
