"""``calicoctl label``: sets and removes one label."""

from __future__ import annotations

from pycalico.api.meta import Resource
from pycalico.calicoctl import batch, operations
from pycalico.calicoctl.failure import Failure
from pycalico.calicoctl.syntax import Arguments
from pycalico.datastore.errors import DatastoreError


def run(arguments: Arguments) -> None:
    """Messages name the resource as it was typed."""
    words = arguments.words
    what = f"{words['KIND']} {words['NAME']}"
    remove = "--remove" in arguments.switches
    key, _, value = words["LABEL"].partition("=")
    if remove:
        key = words["LABEL"]
    elif words["LABEL"].count("=") != 1:
        raise Failure(f"invalid label {words['LABEL']}")
    outcome = batch.run(arguments, operations.get_or_list, prefix=f"failed to get {what}, error ")
    resource = outcome.answers[0][0] if outcome.answers else None
    if not isinstance(resource, Resource) or outcome.client is None:
        raise Failure(f"{what} not found")
    labels = resource.metadata.labels
    there = key in labels
    if remove:
        if not there:
            raise Failure(f"cannot remove label of {what}, key {key} does not exist")
        labels = {each: text for each, text in labels.items() if each != key}
    else:
        if there and labels[key] != value and "--overwrite" not in arguments.switches:
            raise Failure(
                f"failed to update label of {what}, key {key} is already present. "  # noqa: S608 (no SQL)
                "please use '--overwrite' to set a new value."
            )
        labels = {**labels, key: value}
    resource.metadata.labels = labels
    try:
        operations.execute(outcome.client, resource, arguments, operations.replace)
    except DatastoreError as error:
        raise Failure(f"failed to update {what}, label not changed") from error
    if remove:
        print(f"Successfully removed label {key} from {what}")
    else:
        print(f"Successfully {'updated' if there else 'set'} label {key} on {what}")
