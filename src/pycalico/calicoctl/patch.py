"""``calicoctl patch``: merges some fields into a stored resource."""

from __future__ import annotations

from typing import Any

import msgspec

from pycalico.api import manifests
from pycalico.api.meta import Resource
from pycalico.calicoctl import batch, operations
from pycalico.calicoctl.failure import Failure
from pycalico.calicoctl.operations import Refused
from pycalico.calicoctl.syntax import Arguments
from pycalico.datastore.errors import DatastoreError, Invalid
from pycalico.datastore.typed import TypedClient

_PATCH, _RETAIN = "$patch", "$retainKeys"
_REMOVE, _ORDER = "$deleteFromPrimitiveList", "$setElementOrder"


def run(arguments: Arguments) -> None:
    """Raises Failure."""

    def operation(client: TypedClient, resource: Resource) -> Resource:
        return _patched(client, resource, arguments.text("--patch"))

    outcome = batch.run(arguments, operation)
    if outcome.errors:
        raise Failure(f"Hit error: {outcome.errors[-1]}")
    print(f"Successfully patched {len(outcome.answers)} '{outcome.kind}' resource")


def _patched(client: TypedClient, resource: Resource, patch: str) -> Resource:
    stored = operations.get_or_list(client, resource)
    if not isinstance(stored, Resource):
        raise Refused("resource name may not be empty")
    try:
        change = msgspec.json.decode(patch, type=dict[str, Any] | None) or {}
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise Invalid("performing strategic merge patch: invalid JSON document") from error
    try:
        merged = merge(msgspec.to_builtins(stored), change)
    except ValueError as error:
        raise Invalid(f"performing strategic merge patch: {error}") from error
    try:
        found = manifests.resources_of(merged)
    except manifests.ManifestError as error:
        raise Invalid(f"creating resource from patched data: {error}") from error
    except ValueError as error:
        raise Invalid(f"creating resource from patched data: error parsing document: {error}") from error
    if found[0].kind != stored.kind:
        raise Invalid(f"updating existing resource: the kind {stored.kind} cannot be changed")
    try:
        return operations.updated(client, found[0])
    except DatastoreError as error:
        raise Invalid(f"updating existing resource: {error}") from error


def merge(stored: Any, change: Any) -> Any:
    """Maps are merged and ``null`` removes; anything else, lists too, is replaced.

    The directives of Kubernetes' strategic merge patches that mean something without merge keys are followed:
    ``$patch`` (replace, delete), ``$retainKeys``, ``$deleteFromPrimitiveList/KEY``. Raises ValueError for wrong ones.
    """
    if not isinstance(change, dict):
        return change
    found = dict(stored) if isinstance(stored, dict) else {}
    directive = change.get(_PATCH)
    if directive == "replace":
        return {key: value for key, value in change.items() if key != _PATCH}
    if directive == "delete":
        return {}
    if directive is not None:
        shown = " ".join(f"{key}:{change[key]}" for key in sorted(change))
        raise ValueError(f"unknown patch type: {directive} in map: map[{shown}]")
    kept = change.get(_RETAIN)
    if kept is not None:
        plain = {key for key in change if not key.startswith("$")}
        if not isinstance(kept, list) or not plain <= set(kept):
            raise ValueError("invalid patch format of retainKeys")
        found = {key: value for key, value in found.items() if key in kept}
    for key, value in change.items():
        name, _, target = key.partition("/")
        if key == _RETAIN or name == _ORDER:
            continue
        if name == _REMOVE:
            found[target] = [item for item in found.get(target, ()) if item not in value]
        elif value is None:
            found.pop(key, None)
        else:
            found[key] = merge(found.get(key), value)
    return found
