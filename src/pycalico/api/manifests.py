"""From the text of a manifest to resources: documents, objects, lists. Texts of refusals are upstream's."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from pycalico.api import goyaml, strict
from pycalico.api.kinds import KINDS
from pycalico.api.meta import API_VERSION, Resource

#: Kinds that programs keep among themselves; nobody writes them by hand.
_INTERNAL = frozenset(
    [
        "BlockAffinity",
        "CalicoNodeStatus",
        "IPAMBlock",
        "IPAMConfig",
        "IPAMHandle",
        "KubernetesEndpointSlice",
        "KubernetesNetworkPolicy",
        "KubernetesService",
    ]
)


class ListMeta(msgspec.Struct, rename="camel"):
    """What the metadata of a list may hold; nothing of it is kept."""

    self_link: str = ""
    resource_version: str = ""
    next: str = msgspec.field(default="", name="continue")
    remaining_item_count: int | None = None


#: Structs of ours that serve two kinds, as upstream's messages call them.
_RENAMED = {
    "GlobalNetworkSet": {"NetworkSetSpec": "GlobalNetworkSetSpec"},
}


class ManifestError(ValueError):
    """A file cannot be read or is no manifest; the message is upstream's.

    ``place`` says where in the text, as far as that is known: ``line 7``, or the line where its document begins.
    """

    place = ""


def parse(text: str) -> list[Resource]:
    """All resources of a YAML or JSON text of any number of documents. Raises ManifestError."""
    found: list[Resource] = []
    for first, document in _numbered(text):
        try:
            found += parsed(document)
        except ManifestError as error:
            line = getattr(error.__cause__, "line", 0)
            error.place = f"line {first + line}" if line else f"the document at line {first + 1}"
            raise
    return found


def documents(text: str) -> Iterator[str]:
    """Split where a line begins with ``---``; the rest of that line is dropped."""
    return (document for _, document in _numbered(text))


def _numbered(text: str) -> Iterator[tuple[int, str]]:
    """Each document with the number of lines before it."""
    start = 0
    while True:
        before = text.count("\n", 0, start)
        end = text.find("\n---", start)
        if end < 0:
            if start < len(text):
                yield before, text[start:]
            return
        yield before, text[start:end]
        newline = text.find("\n", end + 4)
        if newline < 0:
            return
        start = newline + 1


def parsed(document: str) -> list[Resource]:
    """The resources of one document: an object, a list of objects or a ``KindList``. Raises ManifestError."""
    try:
        return resources_of(goyaml.parse(document))
    except ManifestError:
        raise
    except ValueError as error:
        raise ManifestError(f"error parsing document: {error}") from error


def resources_of(value: Any) -> list[Resource]:
    if value is None:
        return []
    if isinstance(value, list):
        for each in value:
            _known(_identified(each))
        unknown: list[str] = []
        found = [resource for each in value for resource in _resources(each, unknown)]
        strict.refuse(unknown)
        return found
    if not isinstance(value, dict) or not isinstance(value.get("kind"), str) or not value["kind"]:
        raise strict.whole(value)
    return _resources(value)


def _identified(item: Any) -> dict[str, Any]:
    """An item of a list of objects; one that is none is refused in other words than a document."""
    if item is not None and not isinstance(item, dict):
        kind = strict.json_kind(item)
        raise strict.StrictError(
            f"json: cannot unmarshal {kind} into Go value of type map[string]interface {{}}"
        )
    if not item or not item.get("kind"):
        shown = msgspec.json.encode(item, order="sorted").decode()
        raise strict.StrictError(f"Object 'Kind' is missing in '{shown}'")
    return item


def _known(value: dict[str, Any]) -> str:
    kind, version = str(value["kind"]), value.get("apiVersion")
    if not isinstance(version, str):
        version = ""
    single = kind.removesuffix("List")
    if version != API_VERSION or single not in KINDS or single in _INTERNAL:
        raise ManifestError(f"Unknown resource type ({kind}) and/or version ({version})")
    return single


def _resources(value: dict[str, Any], unknown: list[str] | None = None) -> list[Resource]:
    kind = _known(value)
    resource_type = KINDS[kind].type
    if value["kind"] == kind:
        return [strict.decode(value, resource_type, renamed=_RENAMED.get(kind), unknown=unknown)]
    items = value.get("items")
    for item in items if isinstance(items, list) else ():
        # An item would otherwise be stored under a kind that it is not of.
        if isinstance(item, dict) and item.get("kind", kind) not in (kind, "", None):
            raise ManifestError(f"error parsing document: {item['kind']} in a list of kind {value['kind']}")
    found: list[Resource] = strict.decode(
        value, _list_type(kind), renamed=_RENAMED.get(kind), unknown=unknown
    ).items
    return found


def _list_type(kind: str) -> Any:
    """Upstream's list of a kind, as its refusals tell it: ``field IPPoolList.items of type []v3.IPPool``."""
    return msgspec.defstruct(
        f"{kind}List",
        [
            ("kind", str, ""),
            ("apiVersion", str, ""),
            ("metadata", ListMeta | None, None),
            ("items", list[KINDS[kind].type], msgspec.field(default_factory=list)),  # type: ignore[misc]
        ],
    )
