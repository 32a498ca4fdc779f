"""The client for people and programs that create resources: a driver plus the rules common to all datastores.

Defaults are filled in, resources validated, names of policies given their tier's prefix (and rid of it on
reading), rules between objects kept, and what belongs to a deleted pool or node cleaned up. Programs that only
follow the datastore use the driver itself.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Generic, cast

import msgspec

from pycalico.api import defaults
from pycalico.api.kinds import KINDS, kind_of
from pycalico.api.meta import Key, ObjectMeta, R, Resource, ResourceList
from pycalico.base import shapes
from pycalico.datastore import cleanup, endpointname
from pycalico.datastore.cleanup import IPAM
from pycalico.datastore.client import Client, Event, Watch, Write
from pycalico.datastore.errors import AlreadyExists, Invalid, NotFound, NotSupported

if TYPE_CHECKING:
    from pycalico.api.v3.workloadendpoint import WorkloadEndpoint

TIER = "default."
DEFAULT_ALLOW = "projectcalico-default-allow"
#: Names that carry a tier of their own.
_UNTIERED = ("knp.", "ossg.")
_POLICIES = ("NetworkPolicy", "GlobalNetworkPolicy")


def stored_name(name: str) -> str:
    """``web`` → ``default.web``."""
    return name if name.startswith(_UNTIERED) else TIER + name


def shown_name(name: str) -> str:
    """The inverse: the first dotted part goes."""
    return name if name.startswith(_UNTIERED) else name.partition(".")[2] or name


class TypedClient:
    """``ipam`` is made when a pool or node is deleted. ``driver`` stays usable as it is."""

    def __init__(self, driver: Client, ipam: Callable[[], IPAM] | None = None) -> None:
        self.driver = driver
        self._ipam = ipam

    @property
    def _owns_nodes(self) -> bool:
        """False where nodes and endpoints are Kubernetes' own."""
        return getattr(self.driver, "owns_nodes", True)

    # ---- the Client interface ----

    def create(self, resource: R) -> R:
        if _is_default_allow(resource):
            raise _DefaultAllowExists
        new = _copy(resource)
        self._prepare(new, None)
        _validate(new)
        self._after_validation(new)
        if new.kind == "Node":
            self.ensure_initialized()
        self._check_endpoint("Create", new)
        meta = new.metadata
        if meta.resource_version:
            raise Invalid(
                f"error with field Metadata.ResourceVersion = '{meta.resource_version}' "
                "(field must not be set for a Create request)"
            )
        self._check_namespace(type(new), meta.namespace)
        if new.kind in _POLICIES:
            meta.name = stored_name(meta.name)
        try:
            return self._shown(self.driver.create(new))
        except AlreadyExists:
            # Policies are named as they are stored, as in the other refusals of the store.
            raise AlreadyExists(new.key) from None

    def get(self, kind: type[R], name: str, namespace: str = "", *, revision: str = "") -> R:
        self._check_namespace(kind, namespace)
        return self._shown(self.driver.get(kind, _stored(kind, name), namespace, revision=revision))

    def list(
        self, kind: type[R], namespace: str = "", *, name_prefix: str = "", cached: bool = False
    ) -> ResourceList[R]:
        prefix = _stored(kind, name_prefix) if name_prefix else ""
        found = self.driver.list(kind, namespace, name_prefix=prefix, cached=cached)
        for item in found.items:
            self._shown(item)
        return found

    def update(self, resource: R) -> R:
        if _is_default_allow(resource):
            raise _default_allow("Update", "updated")
        new = _copy(resource)
        old = self.get(type(new), new.metadata.name) if new.kind == "IPPool" else None
        self._prepare(new, old)
        _validate(new)
        self._after_validation(new)
        self._check_endpoint("Update", new)
        meta = new.metadata
        for field, value in (
            ("ResourceVersion", meta.resource_version),
            ("CreationTimestamp", meta.creation_timestamp),
            ("UID", meta.uid),
        ):
            if not value:
                shown = "0001-01-01 00:00:00 +0000 UTC" if field == "CreationTimestamp" else ""
                raise Invalid(
                    f"error with field Metadata.{field} = '{shown}' (field must be set for an Update request)"
                )
        self._check_namespace(type(new), meta.namespace)
        if new.kind in _POLICIES:
            meta.name = stored_name(meta.name)
        return self._shown(self.driver.update(new))

    def update_status(self, resource: R) -> R:
        return self._shown(self.driver.update_status(resource))

    def delete(
        self, kind: type[R], name: str, namespace: str = "", *, revision: str = "", uid: str = ""
    ) -> R | None:
        self._check_namespace(kind, namespace)
        if kind.__name__ == "IPPool":
            revision = cleanup.retire_pool(self, self._ipam, name, revision)
        elif kind.__name__ == "Node":
            if not self._owns_nodes:
                # Before the clean-up, which would take the addresses of running pods.
                raise NotSupported("Delete", Key("Node", "", name))
            cleanup.clean_up_node(self, self._ipam, name)
        elif kind.__name__ == "Profile" and name == DEFAULT_ALLOW:
            raise _default_allow("Delete", "deleted")
        found = self.driver.delete(kind, _stored(kind, name), namespace, revision=revision, uid=uid)
        return self._shown(found) if found is not None else None

    @property
    def transacts(self) -> bool:
        """Transactions are the driver's: what they write is not looked at."""
        return False

    def transact(self, writes: Sequence[Write]) -> Sequence[Resource]:  # noqa: ARG002
        raise NotSupported("Transact", "")

    def watch(self, kind: type[R], namespace: str = "", *, revision: str = "", name: str = "") -> Watch[R]:
        watch = self.driver.watch(
            kind, namespace, revision=revision, name=_stored(kind, name) if name else ""
        )
        return _ShownWatch(watch, self._shown)

    def ping(self, timeout_s: float) -> None:
        self.driver.ping(timeout_s)

    def close(self) -> None:
        self.driver.close()

    # ---- the datastore as a whole ----

    def ensure_initialized(self, version: str = "", cluster_type: str = "") -> None:
        """Makes the ClusterInformation ``default`` if there is none, or notes what is new in it."""
        import uuid  # noqa: PLC0415 (readers do without)

        if not self._owns_nodes:
            cluster_type = f"{cluster_type},kdd".lstrip(",")

        kind = KINDS["ClusterInformation"].type
        try:
            found: Any = self.driver.get(kind, "default")
        except NotFound:
            new: Any = kind(metadata=ObjectMeta(name="default"))
            new.spec.cluster_guid = uuid.uuid4().hex
            new.spec.datastore_ready = True
            new.spec.calico_version = version
            new.spec.cluster_type = cluster_type
            try:
                self.driver.create(new)
            except AlreadyExists:
                return
            return
        spec = copy.copy(found.spec)
        spec.cluster_guid = spec.cluster_guid or uuid.uuid4().hex
        if spec.datastore_ready is None:
            spec.datastore_ready = True
        spec.calico_version = version or spec.calico_version
        have = [each for each in spec.cluster_type.split(",") if each]
        have += [each for each in cluster_type.split(",") if each and each not in have]
        spec.cluster_type = ",".join(have)
        if spec != found.spec:
            found.spec = spec
            self.driver.update(found)

    # ---- rules ----

    def _prepare(self, resource: Resource, old: Resource | None) -> None:
        """Defaults, and the rules that upstream checks before those of single fields."""
        defaults.fill(resource)
        match resource.kind:
            case "IPPool":
                self._check_pool(resource, old)
            case "BGPPeer":
                self._check_filters(resource)
            case "WorkloadEndpoint":
                endpointname.fill(cast("WorkloadEndpoint", resource))

    def _check_endpoint(self, operation: str, resource: Resource) -> None:
        """Endpoints that are pods are written by the CNI plugin alone, through the driver."""
        if resource.kind == "WorkloadEndpoint" and not self._owns_nodes:
            raise NotSupported(operation, resource.key, "unsupported PatchMode: patchModeUnspecified")

    def _check_pool(self, new: Any, old: Any) -> None:
        from pycalico.api.validate import ValidationError, addresses  # noqa: PLC0415

        others = [] if old is not None else self.list(type(new)).items
        try:
            addresses.pool_change(new, old, others)
        except ValidationError as error:
            raise Invalid(str(error)) from error

    def _check_filters(self, peer: Any) -> None:
        wanted = peer.spec.filters
        if not wanted:
            return
        there = {item.metadata.name for item in self.list(KINDS["BGPFilter"].type).items}
        missing = [name for name in wanted if name not in there]
        if missing:
            raise Invalid(
                f"error with field BGPPeer.Spec.Filters = '[{' '.join(missing)}]' (BGPFilter(s) not found)"
            )

    def _after_validation(self, resource: Resource) -> None:
        found: Any = resource
        match resource.kind:
            case "BGPConfiguration":
                from pycalico.api.validate import ValidationError, bgp  # noqa: PLC0415

                try:
                    bgp.default_only(found)
                except ValidationError as error:
                    raise Invalid(str(error)) from error
            case "KubeControllersConfiguration" if resource.metadata.name != "default":
                raise Invalid(
                    'Cannot create a Kube Controllers Configuration resource with a name other than "default"'
                )
            case "ClusterInformation" if resource.metadata.name != "default":
                raise Invalid('Cannot create a Cluster Information resource with a name other than "default"')
            case "IPPool" if not resource.metadata.resource_version:
                self._check_blocks(found)
            case "WorkloadEndpoint":
                found.metadata.labels = {
                    **found.metadata.labels,
                    "projectcalico.org/namespace": found.metadata.namespace,
                    "projectcalico.org/orchestrator": found.spec.orchestrator,
                }

    def _check_blocks(self, pool: Any) -> None:
        """Addresses handed out in blocks of another size cannot be served by the new pool."""
        import ipaddress  # noqa: PLC0415

        network = ipaddress.ip_network(pool.spec.cidr)
        try:
            blocks: Any = self.driver.list(KINDS["IPAMBlock"].type).items
        except NotSupported:
            return
        for block in blocks:
            cidr = ipaddress.ip_network(block.spec.cidr)
            if (
                cidr.version == network.version
                and cidr.prefixlen != pool.spec.block_size
                and cidr.overlaps(network)
            ):
                raise Invalid(
                    f"error with field IPPool.Spec.BlockSize = '{pool.spec.block_size}' (IPPool blocksSize "
                    "conflicts with existing allocations that use a different blockSize)"
                )

    def _check_namespace(self, kind: type[Resource], namespace: str) -> None:
        if kind_of(kind).namespaced and not namespace:
            raise Invalid(
                "error with field Metadata.Namespace (namespace is not specified on namespaced resource)"
            )

    def _shown(self, resource: R) -> R:
        if resource.kind in _POLICIES:
            resource.metadata.name = shown_name(resource.metadata.name)
        elif resource.kind == "IPPool":
            defaults.pool(resource)
        return resource


class _DefaultAllowExists(AlreadyExists):
    """Upstream names this profile without its kind."""

    def __init__(self) -> None:
        super().__init__(Key("Profile", "", DEFAULT_ALLOW))

    def __str__(self) -> str:
        return f"resource already exists: {DEFAULT_ALLOW}"


def _default_allow(operation: str, done: str) -> NotSupported:
    reason = f'The profile "{DEFAULT_ALLOW}" is a default provided by Calico and cannot be {done}'
    return NotSupported(operation, DEFAULT_ALLOW, reason)


def _is_default_allow(resource: Resource) -> bool:
    return resource.kind == "Profile" and resource.metadata.name == DEFAULT_ALLOW


def _stored(kind: type[Resource], name: str) -> str:
    return stored_name(name) if kind.__name__ in _POLICIES else name


def _copy(resource: R) -> R:
    """A deep copy through the wire form, so that defaults do not show in the caller's object."""
    return shapes.decode(msgspec.json.encode(resource), type(resource))


def _validate(resource: Resource) -> None:
    from pycalico.api import validate  # noqa: PLC0415 (readers do without)

    try:
        validate.check(resource)
    except validate.ValidationError as error:
        raise Invalid(str(error)) from error


class _ShownWatch(Generic[R]):
    def __init__(self, watch: Watch[R], shown: Callable[[R], R]) -> None:
        self._watch = watch
        self._shown = shown

    def __iter__(self) -> Iterator[Event[R]]:
        for event in self._watch:
            if event.object is not None:
                self._shown(event.object)
            yield event

    def close(self) -> None:
        self._watch.close()
