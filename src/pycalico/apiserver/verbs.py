"""The verbs on stored objects: create, update, patch, delete, with Kubernetes' bookkeeping of metadata."""

from __future__ import annotations

import datetime as dt
import secrets
import uuid
from collections.abc import Callable
from typing import Any, Final

import msgspec

from pycalico.apiserver import errors, kinds, names
from pycalico.apiserver.admission import Admission, now
from pycalico.apiserver.kinds import Resource
from pycalico.apiserver.registry import Registry
from pycalico.apiserver.store import Entry, Key, Store

Obj = dict[str, Any]
_SUFFIX_ALPHABET: Final = "bcdfghjklmnpqrstvwxz2456789"  # Kubernetes leaves out what spells words
_ONCE: Final = ("uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "generateName")
FOREGROUND: Final = "foregroundDeletion"
ORPHAN: Final = "orphan"
CRD_FINALIZER: Final = "customresourcecleanup.apiextensions.k8s.io"
#: Built-in kinds that refuse an update without resourceVersion, as custom resources do.
_CONDITIONAL: Final = frozenset({"leases.coordination.k8s.io", kinds.CRD.id})
_KEEPS_STATUS: Final = frozenset({"nodes", "events"})  # on creation


class Options(msgspec.Struct, frozen=True):
    """What a write request asks for besides the object."""

    dry_run: bool = False
    field_validation: str = "Warn"


class DeleteOptions(msgspec.Struct, frozen=True):
    dry_run: bool = False
    grace_s: int | None = None
    uid: str | None = None
    resource_version: str | None = None
    propagation: str = "Background"


class Written(msgspec.Struct, frozen=True):
    """The outcome of a write; ``gone``: the object left the store by it."""

    entry: Entry
    created: bool = False
    gone: bool = False
    warnings: tuple[str, ...] = ()


class Verbs:
    """Writes to the store. Every method raises `errors.StatusError` where Kubernetes would refuse."""

    def __init__(self, objects: Store, registry: Registry) -> None:
        self._store = objects
        self._registry = registry
        self._admission = Admission(objects)

    def get(self, resource: Resource, key: Key) -> Entry:
        entry = self._store.get(resource.id, key)
        if entry is None:
            raise errors.not_found(resource, key[1])
        return entry

    # --- create ---------------------------------------------------------------------------------------

    def create(self, resource: Resource, namespace: str, obj: Obj, options: Options) -> Written:
        _check_type(resource, obj)
        names.check_shape(obj)
        metadata = obj["metadata"]
        _place(resource, metadata, namespace)
        if metadata.get("resourceVersion"):
            raise errors.bad_request("resourceVersion should not be set on objects to be created")
        if not metadata.get("name") and metadata.get("generateName"):
            suffix = "".join(secrets.choice(_SUFFIX_ALPHABET) for _ in range(5))
            metadata["name"] = metadata["generateName"][:58] + suffix
        key = (namespace, metadata.get("name", ""))
        for field in ("managedFields", "selfLink", "deletionTimestamp", "deletionGracePeriodSeconds"):
            metadata.pop(field, None)
        if resource.status and resource.id not in _KEEPS_STATUS:
            obj.pop("status", None)
        if resource.generation:
            metadata["generation"] = 1
        metadata["uid"] = str(uuid.uuid4())
        metadata["creationTimestamp"] = now()
        warnings = self._admit(resource, obj, None, options)
        if resource.namespaced:
            self._check_namespace(resource, key)
        if self._store.get(resource.id, key) is not None:
            raise errors.already_exists(resource, key[1])
        entry = self._put(resource, key, obj, options)
        return Written(entry, created=True, warnings=tuple(warnings))

    def _check_namespace(self, resource: Resource, key: Key) -> None:
        namespace = self._store.get("namespaces", ("", key[0]))
        if namespace is None:
            raise errors.not_found(kinds.NAMESPACE, key[0])
        if namespace.obj["metadata"].get("deletionTimestamp"):
            why = f"unable to create new content in namespace {key[0]} because it is being terminated"
            error = errors.forbidden(resource, key[1], why)
            cause = {"reason": "NamespaceTerminating", "field": "metadata.namespace",
                     "message": f"namespace {key[0]} is being terminated"}  # fmt: skip
            error.details = {**(error.details or {}), "causes": [cause]}
            raise error

    def _admit(self, resource: Resource, obj: Obj, old: Obj | None, options: Options) -> list[str]:
        warnings = self._admission.prepare(resource, obj, old)
        if warnings and options.field_validation == "Strict":
            raise errors.bad_request(
                f'{resource.kind} in version "{resource.version}" cannot be handled as a {resource.kind}: '
                f"strict decoding error: {', '.join(warnings)}"
            )
        if resource.storage_version and resource.version != resource.storage_version:
            obj["apiVersion"] = f"{resource.group}/{resource.storage_version}"
        return warnings if options.field_validation == "Warn" else []

    def _put(self, resource: Resource, key: Key, obj: Obj, options: Options) -> Entry:
        if options.dry_run:
            return Entry(key, self._store.rv, obj, msgspec.json.encode(obj))
        return self._store.put(resource.id, key, obj)

    # --- update ---------------------------------------------------------------------------------------

    def update(self, resource: Resource, key: Key, obj: Obj, options: Options, sub: str = "") -> Written:
        """Replace an object, or with ``sub`` "status" its status."""
        entry = self._store.get(resource.id, key)
        if entry is None:
            if resource.kind in ("Lease", "Endpoints", "Event") and not sub:
                names.check_shape(obj)
                obj["metadata"].pop("resourceVersion", None)
                return self.create(resource, key[0], obj, options)
            raise errors.not_found(resource, key[1])
        _check_type(resource, obj)
        names.check_shape(obj)
        metadata = obj["metadata"]
        metadata.setdefault("name", key[1])
        if metadata["name"] != key[1]:
            raise errors.bad_request(
                f"the name of the object ({metadata['name']}) does not match the name on the URL ({key[1]})"
            )
        _place(resource, metadata, key[0])
        if not metadata.get("resourceVersion") and (resource.custom or resource.id in _CONDITIONAL):
            text = "Invalid value: 0x0: must be specified for an update"
            raise errors.invalid(resource, key[1], [("metadata.resourceVersion", "FieldValueInvalid", text)])
        return self._replace(resource, entry, obj, options, sub)

    def _replace(self, resource: Resource, entry: Entry, obj: Obj, options: Options, sub: str) -> Written:
        old, metadata = entry.obj, obj["metadata"]
        name = entry.key[1]
        if metadata.get("resourceVersion", "0") not in ("0", str(entry.rv)):
            raise errors.conflict(resource, name)
        have = old["metadata"]
        if metadata.get("uid", have["uid"]) != have["uid"]:
            why = f"Precondition failed: UID in precondition: {metadata['uid']}, UID in object meta: {have['uid']}"
            raise errors.conflict(resource, name, why)
        obj = _with_sub(resource, old, obj, sub)
        metadata = obj["metadata"]
        for field in _ONCE:
            if field in have:
                metadata[field] = have[field]
            else:
                metadata.pop(field, None)
        metadata.pop("managedFields", None)
        metadata.pop("selfLink", None)
        metadata["resourceVersion"] = str(entry.rv)
        if "generation" in have:
            metadata["generation"] = have["generation"]
        warnings = self._admit(resource, obj, old, options)
        if "generation" in have and sub != "status" and _desired(resource, obj) != _desired(resource, old):
            metadata["generation"] = have["generation"] + 1
        if obj == old:
            return Written(entry, warnings=tuple(warnings))
        done = have.get("deletionTimestamp") and not metadata.get("finalizers")
        if done and have.get("finalizers") and not self._held(resource, obj):
            if not options.dry_run:
                entry = self._store.remove(resource.id, entry.key, obj)
            return Written(entry, gone=True, warnings=tuple(warnings))
        return Written(self._put(resource, entry.key, obj, options), warnings=tuple(warnings))

    def _held(self, resource: Resource, obj: Obj) -> bool:
        """Whether something besides metadata.finalizers keeps a deleted object."""
        if resource.id == "namespaces":
            return bool(obj.get("spec", {}).get("finalizers"))
        grace = obj["metadata"].get("deletionGracePeriodSeconds", 0)
        return bool(resource.id == "pods" and grace)

    def patch(
        self,
        resource: Resource,
        key: Key,
        change: Callable[[Obj], Any],
        options: Options,
        sub: str = "",
    ) -> Written:
        """Apply ``change`` (a patch bound to its text) to a private copy of the stored object."""
        entry = self.get(resource, key)
        obj = change(msgspec.json.decode(entry.raw))
        if not isinstance(obj, dict):
            raise errors.bad_request("the patch leaves no object")
        _check_type(resource, obj)
        names.check_shape(obj)
        metadata = obj["metadata"]
        if metadata.get("name") != key[1] or metadata.get("namespace", "") != key[0]:
            text = "Invalid value: field is immutable"
            raise errors.invalid(resource, key[1], [("metadata.name", "FieldValueInvalid", text)])
        return self._replace(resource, entry, obj, options, sub)

    # --- delete ---------------------------------------------------------------------------------------

    def delete(self, resource: Resource, key: Key, options: DeleteOptions) -> Written:
        entry = self.get(resource, key)
        have = entry.obj["metadata"]
        if options.uid and options.uid != have["uid"]:
            why = (
                f"Precondition failed: UID in precondition: {options.uid}, UID in object meta: {have['uid']}"
            )
            raise errors.conflict(resource, key[1], why)
        if options.resource_version and options.resource_version != str(entry.rv):
            why = (
                f"Precondition failed: ResourceVersion in precondition: {options.resource_version}, "
                f"ResourceVersion in object meta: {entry.rv}"
            )
            raise errors.conflict(resource, key[1], why)
        if resource.id == "namespaces" and key[1] in ("default", "kube-system", "kube-public"):
            raise errors.forbidden(resource, key[1], "this namespace may not be deleted")
        finalizers = list(have.get("finalizers") or ())
        if options.propagation == "Foreground" and FOREGROUND not in finalizers:
            finalizers.append(FOREGROUND)
        elif options.propagation == "Orphan" and ORPHAN not in finalizers:
            finalizers.append(ORPHAN)
        if resource.id == kinds.CRD.id and CRD_FINALIZER not in finalizers:
            finalizers.append(CRD_FINALIZER)
        grace = self._grace(resource, entry.obj, options.grace_s)
        stays = bool(finalizers or grace or resource.id == "namespaces")
        if options.dry_run:
            return Written(entry, gone=not stays)
        if not stays:
            return Written(self._store.remove(resource.id, key), gone=True)
        marked = have.get("deletionTimestamp")
        same = marked and (have.get("finalizers") or []) == finalizers
        if same and grace >= have.get("deletionGracePeriodSeconds", 0):
            return Written(entry)
        obj = msgspec.json.decode(entry.raw)
        if not marked or grace < have.get("deletionGracePeriodSeconds", 0):
            when = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=grace)
            obj["metadata"]["deletionTimestamp"] = when.strftime("%Y-%m-%dT%H:%M:%SZ")
            obj["metadata"]["deletionGracePeriodSeconds"] = grace
        if finalizers:
            obj["metadata"]["finalizers"] = finalizers
        if "generation" in have and not marked:
            obj["metadata"]["generation"] = have["generation"] + 1
        if resource.id == "namespaces":
            obj["metadata"].pop("deletionGracePeriodSeconds", None)
            obj.setdefault("status", {})["phase"] = "Terminating"
        return Written(self._store.put(resource.id, key, obj))

    def _grace(self, resource: Resource, obj: Obj, wanted: int | None) -> int:
        """Seconds that a pod stays for its kubelet; 0 for all else."""
        if resource.id != "pods" or not obj["spec"].get("nodeName"):
            return 0
        if obj.get("status", {}).get("phase") in ("Succeeded", "Failed"):
            return 0
        if wanted is None:
            wanted = obj["spec"].get("terminationGracePeriodSeconds", 30)
        return max(int(wanted or 0), 0)


def _check_type(resource: Resource, obj: Obj) -> None:
    """Refuse a body of another kind; fill in an absent kind and apiVersion."""
    kind = obj.setdefault("kind", resource.kind)
    version = obj.setdefault("apiVersion", resource.api_version)
    if kind != resource.kind:
        raise errors.bad_request(
            f'{kind} in version "{version}" cannot be handled as a {resource.kind}: no kind "{kind}" is '
            f"expected here"
        )
    if version != resource.api_version:
        if resource.storage_version and version == f"{resource.group}/{resource.storage_version}":
            return
        raise errors.bad_request(
            f"the API version in the data ({version}) does not match the expected API version "
            f"({resource.api_version})"
        )


def _place(resource: Resource, metadata: Obj, namespace: str) -> None:
    if not resource.namespaced:
        metadata.pop("namespace", None)
    elif metadata.setdefault("namespace", namespace) != namespace:
        raise errors.bad_request(
            f"the namespace of the provided object does not match the namespace sent on the request "
            f"({metadata['namespace']} is not {namespace})"
        )


def _with_sub(resource: Resource, old: Obj, new: Obj, sub: str) -> Obj:
    """The object that a write through the main path, or through the status path, really asks for."""
    if not resource.status:
        return new
    if sub != "status":
        result = dict(new)
        if "status" in old:
            result["status"] = old["status"]
        else:
            result.pop("status", None)
        return result
    if resource.custom:
        result = {**old, "metadata": dict(old["metadata"])}
        if "status" in new:
            result["status"] = new["status"]
        else:
            result.pop("status", None)
        return result
    # Built-in kinds let labels, annotations and finalizers through the status path: Calico's CNI plugin
    # writes a pod's address annotations that way.
    result = {**new}
    for field in ("spec", "data"):
        if field in old:
            result[field] = old[field]
        else:
            result.pop(field, None)
    return result


def _desired(resource: Resource, obj: Obj) -> Obj:
    if resource.custom:
        left_out = ("metadata", "status") if resource.status else ("metadata",)
        return {key: value for key, value in obj.items() if key not in left_out}
    return {"spec": obj.get("spec")} if "spec" in obj else {k: v for k, v in obj.items() if k != "metadata"}
