"""What is done with one resource: create, apply, replace, delete, get or list, patch.

Rules on metadata, retries and refusals are upstream's (observed).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import msgspec

from pycalico.api.meta import Key, ObjectMeta, Resource, ResourceList
from pycalico.calicoctl.syntax import Arguments
from pycalico.datastore.errors import AlreadyExists, Conflict, DatastoreError, NotFound, NotSupported
from pycalico.datastore.typed import TypedClient, stored_name

#: An answer: one resource or a list of one kind.
Answer = Resource | ResourceList[Any]

_ATTEMPTS = 5
_PAUSE_S = 1.0
_KUBERNETES_POLICY = "knp.default."


class Refused(DatastoreError):
    """The command line asks for what cannot be."""


def create(client: TypedClient, resource: Resource) -> Resource:
    """Of the metadata only name, namespace, labels and annotations are kept."""
    _guard(resource, "create or apply")
    meta = resource.metadata
    kept = ObjectMeta(
        name=meta.name,
        namespace=meta.namespace,
        resource_version=meta.resource_version,
        labels=meta.labels,
        annotations=meta.annotations,
    )
    return client.create(msgspec.structs.replace(resource, metadata=kept))


def apply(client: TypedClient, resource: Resource) -> Resource:
    """Create, or replace what is there."""
    if resource.kind == "ClusterInformation":
        raise NotSupported("apply", resource.kind, "resource is readonly")
    version, resource.metadata.resource_version = resource.metadata.resource_version, ""
    try:
        return create(client, resource)
    except (AlreadyExists, NotSupported):
        resource.metadata.resource_version = version
        return replace(client, resource)


def replace(client: TypedClient, resource: Resource) -> Resource:
    """The stored metadata stays, but for labels and annotations. A given revision must be the current one."""
    wanted = resource.metadata.resource_version
    if wanted:
        stored = _get(client, resource)
        if stored.metadata.resource_version != wanted:
            raise Conflict(stored.key)
        return _update(client, _merged(stored, resource))
    for _ in range(_ATTEMPTS):
        stored = _get(client, resource)
        try:
            return _update(client, _merged(stored, resource))
        except Conflict:
            time.sleep(_PAUSE_S)
    raise DatastoreError("failed to update the resource: %!s(<nil>)")


def delete(client: TypedClient, resource: Resource) -> Resource:
    _guard(resource, "delete")
    meta = resource.metadata
    if not meta.name:
        if resource.kind == "Node":
            raise Refused("error with field node (field should be assigned)")
        # Cleaning up after a node without a name would take what belongs to no node in particular.
        if not getattr(client.driver, "owns_nodes", True):
            raise Refused("resource name may not be empty")
        raise NotFound(key_of(resource.kind, meta.namespace, ""))
    client.delete(type(resource), meta.name, meta.namespace, revision=meta.resource_version)
    return resource


def key_of(kind: str, namespace: str, name: str) -> Key:
    """As messages name what is not there: policies with their tier."""
    tiered = kind in ("NetworkPolicy", "GlobalNetworkPolicy")
    return Key(kind, namespace, stored_name(name) if tiered else name)


def get_or_list(client: TypedClient, resource: Resource) -> Answer:
    meta = resource.metadata
    if not meta.name:
        return client.list(type(resource), meta.namespace)
    if not meta.namespace and namespaced(resource):
        raise Refused("cannot use --all-namespace flag for getting a single resource")
    return client.get(type(resource), meta.name, meta.namespace, revision=meta.resource_version)


def updated(client: TypedClient, resource: Resource) -> Resource:
    """A plain update of what was read."""
    return _update(client, resource)


def _get(client: TypedClient, resource: Resource) -> Resource:
    return client.get(type(resource), resource.metadata.name, resource.metadata.namespace)


def _update(client: TypedClient, resource: Resource) -> Resource:
    _guard(resource, "apply or replace")
    return client.update(resource)


def _merged(stored: Resource, new: Resource) -> Resource:
    meta = msgspec.structs.replace(
        stored.metadata, labels=new.metadata.labels, annotations=new.metadata.annotations
    )
    return msgspec.structs.replace(new, metadata=meta)


def namespaced(resource: Resource) -> bool:
    return resource.kind in ("NetworkPolicy", "NetworkSet", "WorkloadEndpoint")


def settle_namespace(resource: Resource, arguments: Arguments) -> None:
    """Fills in the namespace from the options. Raises Refused when they do not go together."""
    everywhere = "--all-namespaces" in arguments.switches
    wanted = arguments.text("--namespace")
    meta = resource.metadata
    if not namespaced(resource):
        if meta.namespace:
            raise Refused(
                "namespace should not be specified for a non-namespaced resource. "
                f"{resource.kind} is not a namespaced resource"
            )
        if everywhere or wanted:
            raise Refused(f"{resource.kind} is not namespaced")
    elif everywhere and wanted:
        raise Refused("cannot use both --namespace and --all-namespaces flags at the same time")
    elif everywhere:
        meta.namespace = ""
    elif not meta.namespace:
        meta.namespace = wanted or "default"
    elif wanted and wanted != meta.namespace:
        raise Refused(f"resource namespace does not match client namespace. {meta.namespace} != {wanted}")


def _guard(resource: Resource, operation: str) -> None:
    if resource.kind == "ClusterInformation":
        raise NotSupported(operation, resource.kind)
    if resource.kind == "NetworkPolicy" and resource.metadata.name.startswith(_KUBERNETES_POLICY):
        raise NotSupported(
            operation,
            _dump(resource),
            "kubernetes network policies must be managed through the kubernetes API",
        )


def _dump(policy: Any) -> str:
    """The policy as Go prints a struct, which is what upstream's message holds."""
    from pycalico.api.validate.faults import go_text  # noqa: PLC0415 (loaded for this message)

    meta = policy.metadata
    spec = go_text(policy.spec, inner=True)
    return (
        f"&{{{{{policy.kind} {policy.api_version}}} {{{meta.name}  {meta.namespace}  {meta.uid} "
        f"{meta.resource_version} {meta.generation} 0001-01-01 00:00:00 +0000 UTC <nil> <nil> "
        f"{go_text(meta.labels)} {go_text(meta.annotations)} [] [] []}} {spec}}}"
    )


#: What ``execute`` may be asked to do.
Operation = Callable[[TypedClient, Resource], Answer]

SKIPPED: dict[str, type[DatastoreError]] = {"--skip-exists": AlreadyExists, "--skip-not-exists": NotFound}


def execute(client: TypedClient, resource: Resource, arguments: Arguments, operation: Operation) -> Answer:
    """One operation. What a switch says to skip counts as done."""
    settle_namespace(resource, arguments)
    try:
        return operation(client, resource)
    except (AlreadyExists, NotFound) as error:
        for switch, kind in SKIPPED.items():
            if switch in arguments.switches and isinstance(error, kind):
                return resource
        raise
