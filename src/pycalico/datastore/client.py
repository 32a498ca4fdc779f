"""The interface that every datastore offers and every program uses.

Objects go in and come out as the structs of ``pycalico.api.v3``. A resource's revision is its
``metadata.resource_version``, opaque. Errors are those of ``datastore.errors``. Calls block; a client may be
used from several threads at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import Enum
from typing import Generic, Literal, Protocol

import msgspec

from pycalico.api.meta import R, Resource, ResourceList


class EventType(Enum):
    ADDED = "ADDED"
    MODIFIED = "MODIFIED"
    DELETED = "DELETED"
    #: No change: ``object`` is None and ``revision`` tells how far the watch has come.
    BOOKMARK = "BOOKMARK"


class Event(msgspec.Struct, Generic[R], frozen=True):
    """``object`` is the new state, or for DELETED the last one known (at least its key)."""

    type: EventType
    object: R | None
    revision: str


class Watch(Protocol[R]):
    """A running watch. Iterating blocks for the next event and ends when the server or ``close`` ends the watch.

    Raises RevisionExpired, Unavailable or another DatastoreError from the iteration.
    """

    def __iter__(self) -> Iterator[Event[R]]: ...

    def close(self) -> None:
        """Ends the iteration; safe from another thread and more than once."""


class Write(msgspec.Struct, frozen=True):
    """One part of a transaction; an update or a delete is of the resource at its revision."""

    verb: Literal["create", "update", "delete"]
    resource: Resource


class Client(Protocol):
    """One connection to one datastore."""

    #: Whether ``transact`` can be used.
    @property
    def transacts(self) -> bool: ...

    def create(self, resource: R) -> R:
        """Stores a new object; returns it with uid, creation time and revision. Raises AlreadyExists."""

    def get(self, kind: type[R], name: str, namespace: str = "", *, revision: str = "") -> R:
        """Raises NotFound."""

    def list(
        self, kind: type[R], namespace: str = "", *, name_prefix: str = "", cached: bool = False
    ) -> ResourceList[R]:
        """All objects of the kind in one namespace (or, when empty, in all), ordered by namespace and name.

        ``cached`` accepts an answer from a server's cache that may be slightly old (a watch continues from it).
        """

    def update(self, resource: R) -> R:
        """Replaces the object if it still has ``metadata.resource_version``. Raises NotFound, Conflict."""

    def update_status(self, resource: R) -> R:
        """Like update, for the status alone where the datastore keeps it apart."""

    def delete(
        self, kind: type[R], name: str, namespace: str = "", *, revision: str = "", uid: str = ""
    ) -> R | None:
        """Removes the object, provided revision and uid (where given) still hold. Raises NotFound, Conflict."""

    def transact(self, writes: Sequence[Write]) -> Sequence[Resource]:
        """All of them in one request, or none; returns them as stored (deleted ones as given).

        Raises Conflict for the first that cannot be done (whatever the reason), NotSupported.
        """

    def watch(self, kind: type[R], namespace: str = "", *, revision: str = "", name: str = "") -> Watch[R]:
        """Events after ``revision`` (from a list); without one, from now."""

    def ping(self, timeout_s: float) -> None:
        """Returns when the server has answered anything. Raises Unavailable after ``timeout_s``.

        Where one server of several stays silent and another answers, the watches that hang on it end.
        """

    def close(self) -> None:
        """Closes connections; running watches end."""
