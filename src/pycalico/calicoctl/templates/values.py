"""Resources as a template sees them: Go's field names, Go's notion of empty, Go's printing."""

from __future__ import annotations

from typing import Any

import msgspec

from pycalico.api.meta import API_VERSION, Resource, ResourceList
from pycalico.api.validate.faults import go_text
from pycalico.api.wire import wire_name

#: Parts of every resource that Go embeds, so that their fields are the resource's as well.
_EMBEDDED = {"TypeMeta": ("Kind", "APIVersion"), "ObjectMeta": (), "ListMeta": ()}
_ACRONYMS = {"uid": "UID", "api": "API"}


class Missing(Exception):
    """The value has no such field; ``args[0]`` names its Go type."""


class GoList(msgspec.Struct, frozen=True):
    """An answer that lists resources."""

    kind: str
    items: list[Any]
    revision: str


def answer(found: Any, kind: str) -> Any:
    """``kind`` is that of a list's items, which an empty one does not tell."""
    if isinstance(found, ResourceList):
        return GoList(f"{kind}List", found.items, found.revision)
    return found


def field(value: Any, name: str) -> Any:
    """Raises Missing."""
    if isinstance(value, dict):
        return value.get(name)
    if isinstance(value, GoList):
        return _of_list(value, name)
    if isinstance(value, Resource):
        return _of_resource(value, name)
    if isinstance(value, msgspec.Struct):
        attribute = _attributes(type(value)).get(name)
        if attribute is not None:
            return getattr(value, attribute)
        raise Missing(f"v3.{type(value).__name__}")
    raise Missing(go_type(value))


def _of_list(value: GoList, name: str) -> Any:
    known = {
        "Items": value.items, "Kind": value.kind, "APIVersion": API_VERSION, "ListMeta": value,
        "ResourceVersion": value.revision,
    }  # fmt: skip
    if name in known:
        return known[name]
    raise Missing("runtime.Object")


def _of_resource(value: Resource, name: str) -> Any:
    if name in ("ObjectMeta", "TypeMeta"):
        return value.metadata if name == "ObjectMeta" else value
    if name == "APIVersion":
        return value.api_version
    attribute = _attributes(type(value)).get(name)
    if attribute is not None and attribute != "metadata":
        return getattr(value, attribute)
    meta = _attributes(type(value.metadata)).get(name)
    if meta is not None:
        return getattr(value.metadata, meta)
    raise Missing("runtime.Object")


def _attributes(kind: type[msgspec.Struct]) -> dict[str, str]:
    """Go's name of each field."""
    found = _NAMES.get(kind)
    if found is None:
        found = _NAMES[kind] = {go_name(name): name for name in kind.__struct_fields__}
    return found


_NAMES: dict[type[msgspec.Struct], dict[str, str]] = {}


def go_name(attribute: str) -> str:
    """``nat_outgoing`` → ``NATOutgoing``."""
    # The wire name capitalises all words but the first; another word before makes it so for that one too.
    first = attribute.partition("_")[0]
    return (
        _ACRONYMS[first] + wire_name(f"_{attribute[len(first) :]}")
        if first in _ACRONYMS
        else wire_name(f"_{attribute}")
    )


def go_type(value: Any) -> str:
    for kind, name in (
        (bool, "bool"),
        (int, "int"),
        (float, "float64"),
        (str, "string"),
        (list, "[]interface {}"),
    ):
        if isinstance(value, kind):
            return name
    return "nil" if value is None else type(value).__name__


def truth(value: Any) -> bool:
    """Go's: empty texts, lists, maps, zero, false and nil are false; structs are true."""
    return isinstance(value, msgspec.Struct) or bool(value)


def text(value: Any) -> str:
    """As an action prints it."""
    if value is None:
        return "<nil>"
    if isinstance(value, GoList):
        return f"&{{{value.kind} {go_text([item.metadata.name for item in value.items])}}}"
    return go_text(value, inner=not isinstance(value, Resource))
