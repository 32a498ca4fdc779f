"""What a consumer has been told of one kind: turns lists and events into updates without repeating any."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from pycalico.api.meta import Key, Resource
from pycalico.syncer.update import Update


class Cache:
    """Remembers a revision per key, no objects."""

    def __init__(self) -> None:
        self._revisions: dict[Key, str] = {}

    def replace(self, resources: Iterable[Resource]) -> Iterator[Update]:
        """The updates that lead from what was told to exactly ``resources``."""
        gone = dict.fromkeys(self._revisions)
        for resource in resources:
            gone.pop(resource.key, None)
            yield from self.put(resource)
        for key in gone:
            yield from self.remove(key)

    def put(self, resource: Resource) -> Iterator[Update]:
        key, revision = resource.key, resource.metadata.resource_version
        if self._revisions.get(key) != revision or not revision:
            self._revisions[key] = revision
            yield Update(key, resource)

    def remove(self, key: Key) -> Iterator[Update]:
        if self._revisions.pop(key, None) is not None:
            yield Update(key, None)
