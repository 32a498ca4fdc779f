"""A datastore client that writes only while this replica leads; reads always pass."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pycalico.api.meta import R
from pycalico.datastore.client import Client
from pycalico.datastore.errors import Unavailable


class GatedClient:
    """A Client over ``client``. Writes raise Unavailable while ``may_write`` says no: whoever writes tries again."""

    def __init__(self, client: Client, may_write: Callable[[], bool]) -> None:
        self._client = client
        self._may_write = may_write

    def __getattr__(self, name: str) -> Any:
        """Reads, watches and what only one datastore has."""
        return getattr(self._client, name)

    def create(self, resource: R) -> R:
        self._check()
        return self._client.create(resource)

    def update(self, resource: R) -> R:
        self._check()
        return self._client.update(resource)

    def update_status(self, resource: R) -> R:
        self._check()
        return self._client.update_status(resource)

    def delete(
        self, kind: type[R], name: str, namespace: str = "", *, revision: str = "", uid: str = ""
    ) -> R | None:
        self._check()
        return self._client.delete(kind, name, namespace, revision=revision, uid=uid)

    def remove_ipam_host(self, host: str) -> None:
        self._check()
        remove = getattr(self._client, "remove_ipam_host", None)
        if remove is not None:
            remove(host)

    def _check(self) -> None:
        if not self._may_write():
            raise Unavailable("not known to lead any more, nothing is written")
