"""What follows from a change: garbage collection, the end of namespaces and CRDs, objects of new namespaces.

Kubernetes runs these as controllers beside its API server. Here they run on the event loop right after the
change they answer, and once at start for what a previous process left unfinished.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import msgspec

from pycalico.apiserver import errors, kinds, store
from pycalico.apiserver.registry import Registry
from pycalico.apiserver.verbs import CRD_FINALIZER, FOREGROUND, ORPHAN, DeleteOptions, Options, Verbs

log = logging.getLogger(__name__)
Obj = dict[str, Any]
Ref = tuple[str, store.Key]
#: A dependent whose owner never was is kept this long: its owner may be a moment late.
ORPHAN_SWEEP_S = 20.0


class Lifecycle:
    """Hears every change; ``root_ca`` is put into each namespace as kube-root-ca.crt, as clients expect."""

    def __init__(self, objects: store.Store, registry: Registry, verbs: Verbs, root_ca: str) -> None:
        self._store = objects
        self._registry = registry
        self._verbs = verbs
        self._root_ca = root_ca
        self._dependents: dict[str, set[Ref]] = {}
        self._uids: set[str] = set()
        self._suspects: set[Ref] = set()
        self._closed = False
        for resource, table in objects.tables.items():
            for entry in table.entries.values():
                self._index(resource, None, entry)

    def close(self) -> None:
        """Leave what is left to the next start."""
        self._closed = True

    def resume(self) -> None:
        """Finish what a previous process began."""
        for entry in self._store.entries("namespaces"):
            self._later(self._furnish_namespace, entry.key[1])
            if entry.obj["metadata"].get("deletionTimestamp"):
                self._later(self._empty_namespace, entry.key[1])
        for entry in self._store.entries(kinds.CRD.id):
            if entry.obj["metadata"].get("deletionTimestamp"):
                self._later(self._empty_crd, entry.key[1])
        for resource in list(self._store.tables):
            for entry in self._store.entries(resource):
                metadata = entry.obj["metadata"]
                if metadata.get("deletionTimestamp") and metadata.get("finalizers"):
                    self._later(self._finish_owner, resource, entry.key)

    def _later(self, work: Any, *args: Any) -> None:
        def run() -> None:
            if self._closed:
                return
            try:
                work(*args)
            except errors.StatusError as e:
                if e.code != 404:
                    log.warning("cleaning up after a deletion failed: %s", e.message)
            except store.StoreError as e:
                log.warning("cleaning up after a deletion failed: %s", e)

        asyncio.get_running_loop().call_soon(run)

    def _index(self, resource: str, prev: store.Entry | None, entry: store.Entry | None) -> None:
        for one in (prev, entry):
            for owner in (one.obj["metadata"].get("ownerReferences") or ()) if one else ():
                ref = (resource, one.key)  # type: ignore[union-attr]
                refs = self._dependents.setdefault(str(owner.get("uid")), set())
                (refs.discard if one is prev and prev is not entry else refs.add)(ref)
        if entry is not None:
            self._uids.add(entry.obj["metadata"]["uid"])

    def notice(self, change: store.Change) -> None:
        gone = change.type == store.DELETED
        self._index(change.resource, change.prev, None if gone else change.entry)
        metadata = change.entry.obj["metadata"]
        namespace, name = change.entry.key
        if change.resource == kinds.CRD.id:
            self._notice_crd(change)
        if change.resource == "namespaces" and not gone:
            work = self._empty_namespace if metadata.get("deletionTimestamp") else self._furnish_namespace
            self._later(work, name)
        if change.type == store.ADDED and metadata.get("ownerReferences"):
            self._suspects.add((change.resource, change.entry.key))
        if not gone:
            if metadata.get("deletionTimestamp") and metadata.get("finalizers"):
                self._later(self._finish_owner, change.resource, change.entry.key)
            return
        self._uids.discard(metadata["uid"])
        if self._dependents.get(metadata["uid"]):
            self._later(self._collect, metadata["uid"])
        for owner in metadata.get("ownerReferences") or ():
            self._later(self._finish_owner_by_uid, owner)
        if namespace and self._terminating("namespaces", namespace):
            self._later(self._empty_namespace, namespace)
        resource = self._registry.by_id(change.resource)
        if resource is not None and resource.custom and self._terminating(kinds.CRD.id, change.resource):
            self._later(self._empty_crd, change.resource)

    def _terminating(self, resource: str, name: str) -> bool:
        entry = self._store.get(resource, ("", name))
        return entry is not None and bool(entry.obj["metadata"].get("deletionTimestamp"))

    def _notice_crd(self, change: store.Change) -> None:
        if change.type == store.DELETED:
            self._registry.withdraw(change.entry.obj)
            return
        new, old = change.entry.obj, change.prev.obj if change.prev else {}
        if new.get("spec") != old.get("spec"):
            self._registry.install(new)
        if new["metadata"].get("deletionTimestamp"):
            self._later(self._empty_crd, change.entry.key[1])

    # --- namespaces and CRDs ----------------------------------------------------------------------------

    def _furnish_namespace(self, name: str) -> None:
        quiet = Options()
        if self._store.get("serviceaccounts", (name, "default")) is None:
            self._verbs.create(kinds.SERVICE_ACCOUNT, name, {"metadata": {"name": "default"}}, quiet)
        if self._root_ca and self._store.get("configmaps", (name, "kube-root-ca.crt")) is None:
            bundle = {"metadata": {"name": "kube-root-ca.crt"}, "data": {"ca.crt": self._root_ca}}
            self._verbs.create(kinds.BY_ID["configmaps"], name, bundle, quiet)

    def _empty_namespace(self, name: str) -> None:
        """Delete pods first, then the rest: no running pod outlives the policies that bound it."""
        rest = [r for r in self._registry.stored() if r.namespaced and r.id != kinds.POD.id]
        for resources in ([kinds.POD], rest):
            left = [self._delete_all(resource, name) for resource in resources]
            if any(left):
                return
        namespace = self._store.get("namespaces", ("", name))
        if namespace is not None and not namespace.obj["metadata"].get("finalizers"):
            self._store.remove("namespaces", namespace.key)

    def _delete_all(self, resource: kinds.Resource, namespace: str) -> bool:
        """Delete a namespace's objects of one kind; true if some stay for now."""
        left = False
        for entry in self._store.entries(resource.id):
            if entry.key[0] == namespace:
                marked = entry.obj["metadata"].get("deletionTimestamp")
                left |= bool(marked) or not self._verbs.delete(resource, entry.key, DeleteOptions()).gone
        return left

    def _empty_crd(self, name: str) -> None:
        resource = self._registry.by_id(name)
        left = False
        for entry in self._store.entries(name) if resource else ():
            if resource is not None and not entry.obj["metadata"].get("deletionTimestamp"):
                left |= not self._verbs.delete(resource, entry.key, DeleteOptions()).gone
            else:
                left = True
        if not left:
            self._drop_finalizer(kinds.CRD.id, ("", name), CRD_FINALIZER)

    # --- owners and dependents --------------------------------------------------------------------------

    def _owner_lives(self, owner: Obj) -> bool:
        """Whether an owner exists, or is of a kind we know nothing about."""
        if owner.get("uid") in self._uids:
            return True
        return self._registry.by_kind(str(owner.get("apiVersion")), str(owner.get("kind"))) is None

    def _collect(self, uid: str) -> None:
        for ref in tuple(self._dependents.pop(uid, ())):
            self._collect_one(ref)

    def _collect_one(self, ref: Ref) -> None:
        resource, key = self._registry.by_id(ref[0]), ref[1]
        entry = self._store.get(ref[0], key)
        if resource is None or entry is None:
            return
        owners = entry.obj["metadata"].get("ownerReferences") or []
        living = [owner for owner in owners if self._owner_lives(owner)]
        if owners and not living:
            self._verbs.delete(resource, key, DeleteOptions())
        elif len(living) < len(owners):
            obj = msgspec.json.decode(entry.raw)
            obj["metadata"]["ownerReferences"] = living
            self._store.put(ref[0], key, obj)

    def sweep(self) -> None:
        """Collect what was made with an owner that no longer is; called from time to time."""
        suspects, self._suspects = self._suspects, set()
        for ref in suspects:
            self._later(self._collect_one, ref)

    def _finish_owner_by_uid(self, owner: Obj) -> None:
        resource = self._registry.by_kind(str(owner.get("apiVersion")), str(owner.get("kind")))
        for entry in self._store.entries(resource.id) if resource else ():
            if resource is not None and entry.obj["metadata"]["uid"] == owner.get("uid"):
                self._finish_owner(resource.id, entry.key)

    def _finish_owner(self, resource: str, key: store.Key) -> None:
        """Do what the finalizers ``orphan`` and ``foregroundDeletion`` stand for."""
        entry = self._store.get(resource, key)
        if entry is None or not entry.obj["metadata"].get("deletionTimestamp"):
            return
        metadata = entry.obj["metadata"]
        refs = tuple(self._dependents.get(metadata["uid"], ()))
        finalizers = metadata.get("finalizers") or ()
        if ORPHAN in finalizers:
            for ref in refs:
                self._release(ref, metadata["uid"])
            self._drop_finalizer(resource, key, ORPHAN)
        elif FOREGROUND in finalizers:
            left = False
            for ref in refs:
                dependent, row = self._store.get(*ref), self._registry.by_id(ref[0])
                if dependent is None or row is None:
                    continue
                if dependent.obj["metadata"].get("deletionTimestamp"):
                    left = True
                else:
                    left |= not self._verbs.delete(row, ref[1], DeleteOptions(propagation="Foreground")).gone
            if not left:
                self._drop_finalizer(resource, key, FOREGROUND)

    def _release(self, ref: Ref, uid: str) -> None:
        entry = self._store.get(*ref)
        if entry is None:
            return
        obj = msgspec.json.decode(entry.raw)
        owners = obj["metadata"].get("ownerReferences") or []
        obj["metadata"]["ownerReferences"] = [owner for owner in owners if owner.get("uid") != uid]
        self._store.put(*ref, obj)

    def _drop_finalizer(self, resource: str, key: store.Key, finalizer: str) -> None:
        entry = self._store.get(resource, key)
        if entry is None:
            return
        obj = msgspec.json.decode(entry.raw)
        left = [f for f in obj["metadata"].get("finalizers") or () if f != finalizer]
        obj["metadata"]["finalizers"] = left
        if not left:
            del obj["metadata"]["finalizers"]
        grace = obj["metadata"].get("deletionGracePeriodSeconds", 0)
        if left or (resource == "pods" and grace):
            self._store.put(resource, key, obj)
        else:
            self._store.remove(resource, key, obj)
