"""``--dry-run``: everything but the writing, and what would have been written as a difference.

Beyond upstream.
"""

from __future__ import annotations

import copy
import difflib
from collections.abc import Sequence

from pycalico.api.meta import Key, R, Resource, ResourceList
from pycalico.calicoctl import output
from pycalico.datastore.client import Client, Watch, Write
from pycalico.datastore.errors import AlreadyExists, Conflict, NotFound, NotSupported
from pycalico.datastore.typed import shown_name


class Rehearsal:
    """A driver that reads from another and keeps to itself what it is asked to write."""

    transacts = False

    def __init__(self, driver: Client) -> None:
        self._driver = driver
        #: By key: what is stored (None for nothing) and what would be.
        self._changes: dict[Key, tuple[Resource | None, Resource]] = {}

    def create(self, resource: R) -> R:
        meta = resource.metadata
        try:
            self.get(type(resource), meta.name, meta.namespace)
        except NotFound:
            self._changes[resource.key] = (None, copy.deepcopy(resource))
            return resource
        raise AlreadyExists(resource.key)

    def get(self, kind: type[R], name: str, namespace: str = "", *, revision: str = "") -> R:
        for _, new in self._changes.values():
            if isinstance(new, kind) and (new.metadata.name, new.metadata.namespace) == (name, namespace):
                return copy.deepcopy(new)
        return self._driver.get(kind, name, namespace, revision=revision)

    def list(
        self, kind: type[R], namespace: str = "", *, name_prefix: str = "", cached: bool = False
    ) -> ResourceList[R]:
        found = self._driver.list(kind, namespace, name_prefix=name_prefix, cached=cached)
        there = {item.key for item in found.items}
        for key, (_, new) in self._changes.items():
            if isinstance(new, kind) and key not in there and namespace in ("", key.namespace):
                found.items.append(copy.deepcopy(new))
        return found

    def update(self, resource: R) -> R:
        meta = resource.metadata
        stored = self.get(type(resource), meta.name, meta.namespace)
        if stored.metadata.resource_version != meta.resource_version:
            raise Conflict(resource.key)
        first = self._changes.get(resource.key, (stored, stored))[0]
        self._changes[resource.key] = (first, copy.deepcopy(resource))
        return resource

    def update_status(self, resource: R) -> R:
        return self.update(resource)

    def delete(
        self, kind: type[R], name: str, namespace: str = "", *, revision: str = "", uid: str = ""
    ) -> R | None:
        raise NotImplementedError("only create and apply are rehearsed")

    def transact(self, writes: Sequence[Write]) -> Sequence[Resource]:  # noqa: ARG002
        raise NotSupported("Transact", "")

    def watch(self, kind: type[R], namespace: str = "", *, revision: str = "", name: str = "") -> Watch[R]:
        return self._driver.watch(kind, namespace, revision=revision, name=name)

    def ping(self, timeout_s: float) -> None:
        self._driver.ping(timeout_s)

    def close(self) -> None:
        self._driver.close()

    def differences(self) -> str:
        """A unified difference for each object that would change; empty when none would."""
        return "".join(_difference(old, new) for old, new in self._changes.values())


def _difference(old: Resource | None, new: Resource) -> str:
    key = _shown(new).key
    lines = difflib.unified_diff(
        [] if old is None else _lines(old), _lines(new), f"{key} stored", f"{key} applied", n=3
    )
    return "".join(lines)


def _shown(resource: Resource) -> Resource:
    """Policies without their tier, as people write them."""
    found = copy.deepcopy(resource)
    if found.kind in ("NetworkPolicy", "GlobalNetworkPolicy"):
        found.metadata.name = shown_name(found.metadata.name)
    return found


def _lines(resource: Resource) -> list[str]:
    plain = output.plain(_shown(resource), resource.kind)
    for name in ("uid", "resourceVersion", "creationTimestamp"):
        plain["metadata"].pop(name, None)
    return output.yaml_text(plain).splitlines(keepends=True)
