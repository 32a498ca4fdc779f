"""Files of resources: which files, which documents in them, and from a document to resources."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from typing import Any

from pycalico.api import goyaml, strict
from pycalico.api.kinds import KINDS as ALL_KINDS
from pycalico.api.meta import API_VERSION, Resource
from pycalico.calicoctl import names

_SUFFIXES = (".yaml", ".yml", ".json")
_LIST_META = {"selfLink", "resourceVersion", "continue", "remainingItemCount"}


#: Structs of ours that serve two kinds, as upstream's messages call them.
_RENAMED = {
    "GlobalNetworkSet": {"NetworkSetSpec": "GlobalNetworkSetSpec"},
    "FelixConfiguration": {"RouteTableRange": "RouteTableIDRange"},
}


class ManifestError(ValueError):
    """A file cannot be read or is no manifest; the message is upstream's."""


def files(path: str, *, recursive: bool) -> Iterator[str]:
    """The file itself, or a directory's manifests in lexical order. ``-`` is standard input."""
    if path == "-" or not os.path.isdir(path):  # noqa: PTH112
        yield path
        return
    for name in sorted(os.listdir(path)):  # noqa: PTH208
        child = os.path.join(path, name)  # noqa: PTH118
        if os.path.isdir(child):  # noqa: PTH112
            if recursive and not os.path.islink(child):  # noqa: PTH114
                yield from files(child, recursive=True)
        elif os.path.splitext(name)[1].lower() in _SUFFIXES:  # noqa: PTH122
            yield child


def text_of(path: str) -> str:
    """Raises ManifestError."""
    try:
        if path == "-":
            if sys.stdin is None:  # closed by the caller
                raise ManifestError("read -: bad file descriptor")
            return sys.stdin.buffer.read().decode()
        with open(path, encoding="utf-8") as file:  # noqa: PTH123
            return file.read()
    except OSError as error:
        what = "read" if isinstance(error, IsADirectoryError) else "open"
        raise ManifestError(f"{what} {path}: {(error.strerror or str(error)).lower()}") from error
    except UnicodeDecodeError as error:
        raise ManifestError("error parsing document: yaml: invalid UTF-8") from error


def documents(text: str) -> Iterator[str]:
    """Split where a line begins with ``---``; the rest of that line is dropped."""
    start = 0
    while True:
        end = text.find("\n---", start)
        if end < 0:
            if start < len(text):
                yield text[start:]
            return
        yield text[start:end]
        newline = text.find("\n", end + 4)
        if newline < 0:
            return
        start = newline + 1


def load(path: str) -> list[Resource]:
    """All resources of one file. Raises ManifestError."""
    found: list[Resource] = []
    for document in documents(text_of(path)):
        found += parsed(document)
    return found


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
            if not isinstance(each, dict) or not each.get("kind"):
                raise strict.whole(each)
            _known(each)
        return [resource for each in value for resource in _resources(each)]
    if not isinstance(value, dict) or not isinstance(value.get("kind"), str) or not value["kind"]:
        raise strict.whole(value)
    return _resources(value)


def _known(value: dict[str, Any]) -> str:
    kind, version = str(value["kind"]), value.get("apiVersion") or ""
    single = kind.removesuffix("List")
    if version != API_VERSION or single not in names.KINDS:
        raise ManifestError(f"Unknown resource type ({kind}) and/or version ({version})")
    return single


def _resources(value: dict[str, Any]) -> list[Resource]:
    kind = _known(value)
    resource_type = ALL_KINDS[kind].type
    if value["kind"] == kind:
        return [strict.decode(value, resource_type, renamed=_RENAMED.get(kind))]
    for name in sorted(value):
        if name not in ("kind", "apiVersion", "metadata", "items"):
            raise strict.StrictError(
                f"field in document is not recognized or is in the wrong location: {name}"
            )
    for name in sorted(value.get("metadata") or {}):
        if name not in _LIST_META:
            raise strict.StrictError(
                f"field in document is not recognized or is in the wrong location: {name}"
            )
    return [
        strict.decode(item, resource_type, renamed=_RENAMED.get(kind)) for item in value.get("items") or []
    ]
