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
        change = msgspec.json.decode(patch, type=dict[str, Any])
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise Invalid("performing strategic merge patch: invalid JSON document") from error
    merged = merge(msgspec.to_builtins(stored), change)
    if merged.get("kind") != stored.kind:
        raise Invalid(f"updating existing resource: the kind {stored.kind} cannot be changed")
    try:
        found = manifests.resources_of(merged)
    except manifests.ManifestError as error:
        raise Invalid(f"creating resource from patched data: {error}") from error
    except ValueError as error:
        raise Invalid(f"creating resource from patched data: error parsing document: {error}") from error
    try:
        return operations.updated(client, found[0])
    except DatastoreError as error:
        raise Invalid(f"updating existing resource: {error}") from error


def merge(stored: Any, change: Any) -> Any:
    """Maps are merged and ``null`` removes; anything else, lists too, is replaced."""
    if not isinstance(change, dict):
        return change
    found = dict(stored) if isinstance(stored, dict) else {}
    for key, value in change.items():
        if value is None:
            found.pop(key, None)
        else:
            found[key] = merge(found.get(key), value)
    return found
