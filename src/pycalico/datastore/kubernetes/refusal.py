"""What the API server's refusals mean to a datastore client."""

from __future__ import annotations

from pycalico.api.meta import Key
from pycalico.datastore.errors import AlreadyExists, Conflict, DatastoreError, Invalid, NotFound
from pycalico.datastore.kubernetes.rest import StatusError


def translate(error: DatastoreError, key: Key) -> DatastoreError:
    """The typed error; errors that already are one come back unchanged."""
    if not isinstance(error, StatusError):
        return error
    if error.code == 404:
        return NotFound(key, str(error))
    if error.code == 409 and error.reason == "AlreadyExists":
        return AlreadyExists(key)
    if error.code == 409:
        # A uid that no longer fits means that the object which was meant is gone.
        return NotFound(key, str(error)) if "UID in precondition" in str(error) else Conflict(key)
    return Invalid(str(error))
