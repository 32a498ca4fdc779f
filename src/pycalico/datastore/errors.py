"""What can go wrong in a datastore, as types. Texts are upstream's, since operators search for them."""

from __future__ import annotations

from pycalico.api.meta import Key


class DatastoreError(Exception):
    """Base of all: the message is one line for a person."""


class NotFound(DatastoreError):
    """The object is not there."""

    def __init__(self, key: Key, cause: str = "<nil>") -> None:
        super().__init__(f"resource does not exist: {key} with error: {cause}")
        self.key = key


class AlreadyExists(DatastoreError):
    """Create found an object of that name."""

    def __init__(self, key: Key) -> None:
        super().__init__(f"resource already exists: {key}")
        self.key = key


class Conflict(DatastoreError):
    """The object changed since it was read: read again, apply the change again, write again."""

    def __init__(self, key: Key) -> None:
        super().__init__(f"update conflict: {key}")
        self.key = key


class NotSupported(DatastoreError):
    """This datastore cannot do that with this kind."""

    def __init__(self, operation: str, key: Key | str, reason: str = "") -> None:
        super().__init__(f"operation {operation} is not supported on {key}{': ' + reason if reason else ''}")


class Unauthorized(DatastoreError):
    """The credentials were refused; ``forbidden`` says that they are known, and lack the right."""

    def __init__(self, cause: str, *, forbidden: bool = False) -> None:
        super().__init__(f"connection is unauthorized: {cause}")
        self.cause = cause
        self.forbidden = forbidden


class RevisionExpired(DatastoreError):
    """The revision to watch or list from is compacted: list anew."""


class Unavailable(DatastoreError):
    """The server cannot be reached, or answered that it cannot serve now. Trying again later may help."""


class Invalid(DatastoreError):
    """The object or the request was refused as it is; trying again will not help."""
