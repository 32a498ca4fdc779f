"""The Python API: ``from pycalico import Client``. What calicoctl does, as calls with typed resources.

docs/python.md shows it at work. Resources go in and come out as the structs of ``pycalico.api.v3`` (all of them can be
imported from ``pycalico`` itself); errors are those of ``pycalico.datastore.errors``, each one line for a person.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from types import TracebackType
from typing import Generic, Self

import msgspec

from pycalico.api import manifests
from pycalico.api.kinds import kind_of
from pycalico.api.meta import R, Resource, ResourceList
from pycalico.datastore import client as datastore
from pycalico.datastore.client import Event
from pycalico.datastore.config import DatastoreConfig, checked, from_environment, from_file
from pycalico.datastore.errors import AlreadyExists, Conflict, Invalid, NotSupported
from pycalico.datastore.open import open_client
from pycalico.datastore.typed import TypedClient

#: Read instead of the environment when it is there, as calicoctl does.
DEFAULT_FILE = "/etc/calico/calicoctl.cfg"

_ATTEMPTS = 5
_PAUSE_S = 0.2


class Client:
    """A connection to one datastore, to be used in a ``with`` block or closed; threads may share it.

    Where the datastore is: ``config`` if given; else the CalicoAPIConfig ``file``, or /etc/calico/calicoctl.cfg where
    that exists; else ``environ`` (DATASTORE_TYPE, ETCD_ENDPOINTS, KUBECONFIG, ...). The other arguments win over all of
    them. Nothing is sent before the first call. Raises Invalid for a configuration that cannot be used.

    Defaults, validation and the rules between objects are those of calicoctl. Namespaced kinds live in ``default``
    unless they say otherwise; ``list`` and ``watch`` take all namespaces unless one is given.
    """

    def __init__(
        self,
        config: DatastoreConfig | None = None,
        *,
        file: str = "",
        datastore_type: str = "",
        etcd_endpoints: str = "",
        kubeconfig: str = "",
        context: str = "",
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        given = {
            "datastore_type": datastore_type
            or ("etcdv3" if etcd_endpoints else "kubernetes" if kubeconfig else ""),
            "etcd_endpoints": etcd_endpoints,
            "kubeconfig": kubeconfig,
            "k8s_current_context": context,
        }
        found = msgspec.structs.replace(
            config or _configuration(file, environ), **{name: value for name, value in given.items() if value}
        )
        driver = open_client(checked(found), environ)

        def allocator() -> object:
            from pycalico.ipam.allocator import Allocator  # noqa: PLC0415 (for those who delete pools and nodes)

            return Allocator(driver)

        self._typed = TypedClient(driver, allocator)  # type: ignore[arg-type]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes connections; running watches end."""
        self._typed.close()

    # ---- reading ----

    def get(self, kind: type[R], name: str, namespace: str = "") -> R:
        """Raises NotFound."""
        return self._typed.get(kind, name, _namespace(kind, namespace))

    def list(self, kind: type[R], namespace: str = "") -> ResourceList[R]:
        """All of a kind, by namespace and name; iterable, and ``revision`` is where a watch goes on from."""
        return self._typed.list(kind, namespace)

    def watch(self, kind: type[R], namespace: str = "", *, name: str = "", revision: str = "") -> Watch[R]:
        """Events after ``revision`` (a list's), or from now on.

        Iterating blocks, and raises RevisionExpired when the revision is too old (list again) and Unavailable when the
        connection breaks. For a picture that is kept up to date through all of that, see ``pycalico.syncer``.
        """
        return Watch(self._typed.watch(kind, namespace, revision=revision, name=name))

    # ---- writing ----

    def create(self, resource: R) -> R:
        """Stores a new object; returns it as stored. Raises AlreadyExists, Invalid."""
        return self._typed.create(_placed(resource))

    def update(self, resource: R) -> R:
        """Replaces an object that was read before. Raises Conflict when it has changed since, NotFound, Invalid."""
        return self._typed.update(_placed(resource))

    def apply(self, resource: R) -> R:
        """Creates the object or makes the stored one like it, whatever that was. Raises Invalid.

        With a ``resource_version`` the stored object must still have it: Conflict otherwise.
        """
        wanted = _placed(resource)
        revision, wanted.metadata.resource_version = wanted.metadata.resource_version, ""
        try:
            return self._typed.create(wanted)
        except AlreadyExists:
            pass
        except NotSupported:
            # Some kinds exist on their own and can only be changed: a node of Kubernetes.
            if kind_of(type(wanted)).crd:
                raise
        for attempt in range(_ATTEMPTS):
            stored = self.get(type(wanted), wanted.metadata.name, wanted.metadata.namespace)
            if revision and stored.metadata.resource_version != revision:
                raise Conflict(wanted.key)
            meta = msgspec.structs.replace(
                stored.metadata, labels=wanted.metadata.labels, annotations=wanted.metadata.annotations
            )
            try:
                return self._typed.update(msgspec.structs.replace(wanted, metadata=meta))
            except Conflict:
                if revision:
                    raise
                time.sleep(_PAUSE_S * (attempt + 1))
        raise Conflict(wanted.key)

    def apply_manifest(self, text: str) -> Sequence[Resource]:
        """Applies every document of a YAML or JSON manifest; returns them as stored.

        Nothing is written when one of them cannot be read: ManifestError.
        """
        return [self.apply(resource) for resource in manifests.parse(text)]

    def delete(self, kind: type[R], name: str, namespace: str = "", *, revision: str = "") -> None:
        """Removes the object, if ``revision`` (where given) still holds. Raises NotFound, Conflict."""
        if not name:
            raise Invalid("resource name may not be empty")
        self._typed.delete(kind, name, _namespace(kind, namespace), revision=revision)


class Watch(Generic[R]):
    """Iterate over it for events; use it in a ``with`` block or close it, also from another thread."""

    def __init__(self, inner: datastore.Watch[R]) -> None:
        self._inner = inner

    def __iter__(self) -> Iterator[Event[R]]:
        """Changes only: ``event.object`` is never None."""
        return (event for event in self._inner if event.object is not None)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends the iteration."""
        self._inner.close()


def _configuration(file: str, environ: Mapping[str, str]) -> DatastoreConfig:
    if not file and not os.path.exists(DEFAULT_FILE):  # noqa: PTH110 (pathlib costs more to load than this takes)
        return from_environment(environ)
    try:
        return from_file(file or DEFAULT_FILE)
    except OSError as error:
        raise Invalid(f"open {file or DEFAULT_FILE}: {(error.strerror or str(error)).lower()}") from error


def _namespace(kind: type[Resource], namespace: str) -> str:
    return (namespace or "default") if kind_of(kind).namespaced else namespace


def _placed(resource: R) -> R:
    """A copy with its namespace filled in."""
    meta = resource.metadata
    filled = msgspec.structs.replace(meta, namespace=_namespace(type(resource), meta.namespace))
    return msgspec.structs.replace(resource, metadata=filled)
