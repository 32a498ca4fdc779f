"""Kinds that are views of Kubernetes core objects: endpoints, nodes, profiles, policies, services."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Generic, TypeVar

import msgspec

from pycalico.api import names
from pycalico.api.meta import Key, ObjectMeta, R, ResourceList
from pycalico.api.v3.node import Node
from pycalico.api.v3.profile import Profile
from pycalico.api.v3.workloadendpoint import WorkloadEndpoint
from pycalico.base import shapes
from pycalico.datastore import rejects
from pycalico.datastore.client import Event, EventType
from pycalico.datastore.errors import DatastoreError, Invalid, NotFound, NotSupported
from pycalico.datastore.kubernetes import core
from pycalico.datastore.kubernetes.convert import node as node_convert
from pycalico.datastore.kubernetes.convert import pod as pod_convert
from pycalico.datastore.kubernetes.convert import profile as profile_convert
from pycalico.datastore.kubernetes.refusal import translate
from pycalico.datastore.kubernetes.rest import MERGE_PATCH, STRATEGIC_PATCH, Rest, RestWatch, path_of

C = TypeVar("C", bound=core.Core)


class ViewWatch(Generic[R]):
    """Events of a core kind, converted; objects that are not of the view (any more) count as deleted."""

    def __init__(self, stream: RestWatch, view: View[C, R], revision: Callable[[str], str] = str) -> None:
        self._stream = stream
        self._view = view
        self._revision = revision

    def __iter__(self) -> Iterator[Event[R]]:
        for event in self._stream:
            source = self._view.decode(event.object)
            revision = self._revision(source.metadata.resource_version)
            kind = EventType(event.type)
            if kind is EventType.BOOKMARK:
                yield Event(kind, None, revision)
                continue
            converted = self._view.convert(source) if kind is not EventType.DELETED else None
            if converted is not None:
                yield Event(kind, converted, revision)
                continue
            gone = self._view.gone(source)
            if gone is not None:
                yield Event(EventType.DELETED, gone, revision)

    def close(self) -> None:
        self._stream.close()


class View(Generic[C, R]):
    """Lists and watches one core kind as a Calico kind. Subclasses convert, and write where that is possible."""

    def __init__(
        self,
        rest: Rest,
        kind: str,
        api: tuple[str, str],
        source: type[C],
        convert: Callable[[C], R | None],
    ) -> None:
        self._rest = rest
        self.kind = kind
        self._api = api
        self._decoder = shapes.decoder(source)
        self._convert = convert

    def decode(self, data: bytes | msgspec.Raw) -> C:
        try:
            return self._decoder.decode(data)
        except msgspec.DecodeError as error:
            raise Invalid(f"cannot decode an object of {self._api[1]}: {error}") from error

    def convert(self, source: C) -> R | None:
        """None when the object is not part of the view; a malformed one is reported and left out."""
        try:
            return self._convert(source)
        except ValueError as error:
            meta = source.metadata
            rejects.report(self.kind, f"{self._api[1]} {meta.namespace}/{meta.name}: {error}")
            return None

    def _read(self, raw: msgspec.Raw) -> R | None:
        try:
            return self.convert(self.decode(raw))
        except Invalid as error:
            rejects.report(self.kind, error)
            return None

    def gone(self, source: C) -> R | None:
        """The last form of an object that is deleted or left the view, at least its names."""
        return self.convert(source)

    def fetch(self, name: str, namespace: str, key: Key) -> C:
        try:
            return self.decode(self._rest.request("GET", self.path(namespace, name)))
        except DatastoreError as error:
            raise translate(error, key) from error

    def each(self) -> Iterator[R]:
        for page in self._rest.pages(self.path("")):
            yield from (item for item in map(self._read, page.items) if item is not None)

    def list(self, namespace: str, name_prefix: str, *, cached: bool) -> ResourceList[R]:
        page = self._rest.list_raw(self.path(namespace), cached=cached)
        items = [item for item in (self._read(raw) for raw in page.items) if item is not None]
        items = [item for item in items if item.metadata.name.startswith(name_prefix)]
        items.sort(key=lambda item: (item.metadata.namespace, item.metadata.name))
        return ResourceList(items, page.revision)

    def get(self, name: str, namespace: str) -> R:
        key = Key(self.kind, namespace, name)
        found = self.convert(self.fetch(name, namespace, key))
        if found is None:
            raise NotFound(key)
        return found

    def watch(self, namespace: str, *, revision: str, name: str) -> ViewWatch[R]:
        query = {"fieldSelector": f"metadata.name={name}"} if name else None
        stream = self._rest.watch(self.path(namespace), revision=revision, query=query)
        return ViewWatch(stream, self)

    def path(self, namespace: str, name: str = "", sub: str = "") -> str:
        return path_of(*self._api, namespace, name, sub)

    def create(self, resource: R) -> R:
        raise NotSupported("Create", resource.key)

    def update(self, resource: R) -> R:
        raise NotSupported("Update", resource.key)

    def delete(self, name: str, namespace: str, *, revision: str, uid: str) -> R | None:  # noqa: ARG002
        raise NotSupported("Delete", Key(self.kind, namespace, name))


class WorkloadEndpoints(View[core.Pod, WorkloadEndpoint]):
    """Pods as endpoints. Writing one patches the pod's annotations, as the CNI plugin needs."""

    def __init__(self, rest: Rest, interface_prefix: str) -> None:
        super().__init__(rest, "WorkloadEndpoint", ("v1", "pods"), core.Pod, self._from_pod)
        self._prefix = interface_prefix

    def _from_pod(self, pod: core.Pod) -> WorkloadEndpoint | None:
        if not pod_convert.has_endpoint(pod):
            return None
        return pod_convert.to_workload_endpoint(pod, self._prefix)

    def _endpoint(self, pod: core.Pod) -> WorkloadEndpoint | None:
        """Raises Invalid where the pod is malformed."""
        try:
            return self._from_pod(pod)
        except ValueError as error:
            raise Invalid(str(error)) from error

    def gone(self, source: core.Pod) -> WorkloadEndpoint | None:
        if not pod_convert.has_endpoint(source):
            return None
        # A malformed pod is reported by convert; its name alone is enough to take the endpoint away.
        meta = source.metadata
        name = names.workload_endpoint(source.spec.node_name, "k8s", meta.name, "eth0")
        return WorkloadEndpoint(
            metadata=ObjectMeta(
                name=name, namespace=meta.namespace, uid=meta.uid, resource_version=meta.resource_version
            )
        )

    def get(self, name: str, namespace: str) -> WorkloadEndpoint:
        key = Key(self.kind, namespace, name)
        found = self._endpoint(self.fetch(self._pod_of(name, key), namespace, key))
        if found is None or found.metadata.name != name:
            raise NotFound(key)
        return found

    def list(self, namespace: str, name_prefix: str, *, cached: bool) -> ResourceList[WorkloadEndpoint]:
        parts = names.split_workload_endpoint(name_prefix)
        if namespace and len(parts) >= 3 and parts[2]:
            # The prefix names one pod: one read instead of the namespace's list.
            key = Key(self.kind, namespace, name_prefix)
            try:
                pod = self.fetch(parts[2], namespace, key)
            except NotFound:
                return ResourceList([], "")
            found = self._endpoint(pod)
            matches = found is not None and found.metadata.name.startswith(name_prefix)
            return ResourceList([found] if matches and found else [], pod.metadata.resource_version)
        return super().list(namespace, name_prefix, cached=cached)

    def watch(self, namespace: str, *, revision: str, name: str) -> ViewWatch[WorkloadEndpoint]:
        pod = self._pod_of(name, Key(self.kind, namespace, name)) if name else ""
        return super().watch(namespace, revision=revision, name=pod)

    def create(self, resource: WorkloadEndpoint) -> WorkloadEndpoint:
        return self._annotate(resource, pod_convert.annotations_of(resource))

    def update(self, resource: WorkloadEndpoint) -> WorkloadEndpoint:
        return self._annotate(resource, pod_convert.annotations_of(resource))

    def delete(self, name: str, namespace: str, *, revision: str, uid: str) -> WorkloadEndpoint | None:
        key = Key(self.kind, namespace, name)
        emptied = {pod_convert.POD_IP: "", pod_convert.POD_IPS: ""}
        return self._patch(key, namespace, emptied, revision, uid)

    def _annotate(self, resource: WorkloadEndpoint, annotations: dict[str, str]) -> WorkloadEndpoint:
        meta = resource.metadata
        patched = self._patch(resource.key, meta.namespace, annotations, meta.resource_version, meta.uid)
        if patched is None:
            raise NotFound(resource.key)
        return patched

    def _patch(
        self, key: Key, namespace: str, annotations: dict[str, str], revision: str, uid: str
    ) -> WorkloadEndpoint | None:
        meta: dict[str, object] = {"annotations": annotations}
        if revision:
            meta["resourceVersion"] = revision
        if uid:
            meta["uid"] = uid
        path = self.path(namespace, self._pod_of(key.name, key), "status")
        try:
            body = self._rest.request("PATCH", path, body={"metadata": meta}, content_type=STRATEGIC_PATCH)
        except DatastoreError as error:
            raise translate(error, key) from error
        pod = self.decode(body)
        try:
            return self._from_pod(pod)
        except ValueError:
            # What was asked for is done, whatever else the pod has.
            return self.gone(pod)

    def _pod_of(self, name: str, key: Key) -> str:
        parts = names.split_workload_endpoint(name)
        if len(parts) < 3 or not parts[2]:
            raise NotFound(key, "malformed WorkloadEndpoint name - unable to determine Pod name")
        return parts[2]


class Nodes(View[core.Node, Node]):
    """Kubernetes nodes. They come and go with the cluster; only Calico's part can be written."""

    def __init__(self, rest: Rest) -> None:
        super().__init__(rest, "Node", ("v1", "nodes"), core.Node, node_convert.from_kubernetes)

    def update(self, resource: Node) -> Node:
        meta: dict[str, object] = {"annotations": node_convert.annotations_of(resource)}
        if resource.metadata.resource_version:
            meta["resourceVersion"] = resource.metadata.resource_version
        path = self.path("", resource.metadata.name, "status")
        try:
            body = self._rest.request("PATCH", path, body={"metadata": meta}, content_type=MERGE_PATCH)
        except DatastoreError as error:
            raise translate(error, resource.key) from error
        return node_convert.from_kubernetes(self.decode(body))


class Profiles:
    """Namespaces and service accounts, and the profile that always exists. Read only.

    A list's revision is both lists', joined by a slash.
    """

    kind = "Profile"

    def __init__(self, rest: Rest) -> None:
        self._namespaces = View[core.Namespace, Profile](
            rest, "Profile", ("v1", "namespaces"), core.Namespace, profile_convert.from_namespace
        )
        self._accounts = View[core.ServiceAccount, Profile](
            rest,
            "Profile",
            ("v1", "serviceaccounts"),
            core.ServiceAccount,
            profile_convert.from_service_account,
        )

    def each(self) -> Iterator[Profile]:
        return iter(self.list("", "", cached=False).items)

    def list(self, namespace: str, name_prefix: str, *, cached: bool) -> ResourceList[Profile]:  # noqa: ARG002
        spaces = self._namespaces.list("", "", cached=cached)
        accounts = self._accounts.list("", "", cached=cached)
        items = [profile_convert.default_allow(), *spaces.items, *accounts.items]
        wanted = [item for item in items if item.metadata.name.startswith(name_prefix)]
        return ResourceList(wanted, f"{spaces.revision}/{accounts.revision}")

    def get(self, name: str, namespace: str) -> Profile:  # noqa: ARG002
        key = Key("Profile", "", name)
        if name == profile_convert.DEFAULT_ALLOW:
            return profile_convert.default_allow()
        if name.startswith(names.NAMESPACE_PROFILE_PREFIX):
            source = self._namespaces.fetch(name.removeprefix(names.NAMESPACE_PROFILE_PREFIX), "", key)
            return profile_convert.from_namespace(source)
        space, _, account = name.removeprefix(names.SERVICE_ACCOUNT_PROFILE_PREFIX).partition(".")
        if name.startswith(names.SERVICE_ACCOUNT_PROFILE_PREFIX) and account:
            return profile_convert.from_service_account(self._accounts.fetch(account, space, key))
        raise Invalid(f"Invalid name {name}")

    def watch(self, namespace: str, *, revision: str, name: str) -> MergedWatch:  # noqa: ARG002
        spaces, _, accounts = revision.partition("/")
        return MergedWatch(
            [
                self._namespaces.watch("", revision=spaces, name=""),
                self._accounts.watch("", revision=accounts, name=""),
            ],
            [spaces, accounts],
        )

    def create(self, resource: Profile) -> Profile:
        raise NotSupported("Create", resource.key)

    def update(self, resource: Profile) -> Profile:
        raise NotSupported("Update", resource.key)

    def delete(self, name: str, namespace: str, *, revision: str, uid: str) -> Profile | None:  # noqa: ARG002
        raise NotSupported("Delete", Key("Profile", "", name))


class MergedWatch:
    """Two watches as one; it ends, or fails, when either does."""

    def __init__(self, watches: Sequence[ViewWatch[Profile]], revisions: list[str]) -> None:
        self._watches = watches
        self._revisions = revisions
        from queue import SimpleQueue  # noqa: PLC0415 - programs that watch nothing do without

        self._events: SimpleQueue[tuple[int, Event[Profile] | DatastoreError | None]] = SimpleQueue()
        for index, watch in enumerate(watches):
            threading.Thread(
                target=self._pump, args=(index, watch), daemon=True, name="profile-watch"
            ).start()

    def _pump(self, index: int, watch: ViewWatch[Profile]) -> None:
        try:
            for event in watch:
                self._events.put((index, event))
            self._events.put((index, None))
        except DatastoreError as error:
            self._events.put((index, error))

    def __iter__(self) -> Iterator[Event[Profile]]:
        try:
            while True:
                index, event = self._events.get()
                if event is None:
                    return
                if isinstance(event, DatastoreError):
                    raise event
                self._revisions[index] = event.revision
                yield Event(event.type, event.object, "/".join(self._revisions))
        finally:
            self.close()

    def close(self) -> None:
        for watch in self._watches:
            watch.close()
