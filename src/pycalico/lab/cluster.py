"""The lab's view of the Kubernetes API: objects as dictionaries, and caches kept current by watches."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Any

import msgspec

from pycalico.datastore.errors import DatastoreError
from pycalico.datastore.kubernetes.access import from_kubeconfig
from pycalico.datastore.kubernetes.rest import MERGE_PATCH, STRATEGIC_PATCH, Rest, StatusError, path_of

Object = dict[str, Any]

#: kind → (API version, plural, namespaced)
KINDS = {
    "Namespace": ("v1", "namespaces", False),
    "Node": ("v1", "nodes", False),
    "Pod": ("v1", "pods", True),
    "ServiceAccount": ("v1", "serviceaccounts", True),
    "ConfigMap": ("v1", "configmaps", True),
    "Secret": ("v1", "secrets", True),
    "DaemonSet": ("apps/v1", "daemonsets", True),
    "Deployment": ("apps/v1", "deployments", True),
    "ReplicaSet": ("apps/v1", "replicasets", True),
    "NetworkPolicy": ("networking.k8s.io/v1", "networkpolicies", True),
    "CustomResourceDefinition": ("apiextensions.k8s.io/v1", "customresourcedefinitions", False),
    "ClusterRole": ("rbac.authorization.k8s.io/v1", "clusterroles", False),
    "ClusterRoleBinding": ("rbac.authorization.k8s.io/v1", "clusterrolebindings", False),
    "Role": ("rbac.authorization.k8s.io/v1", "roles", True),
    "RoleBinding": ("rbac.authorization.k8s.io/v1", "rolebindings", True),
    "PodDisruptionBudget": ("policy/v1", "poddisruptionbudgets", True),
    "Service": ("v1", "services", True),
    "Endpoints": ("v1", "endpoints", True),
    "EndpointSlice": ("discovery.k8s.io/v1", "endpointslices", True),
    "IPPool": ("crd.projectcalico.org/v1", "ippools", False),
}

_log = logging.getLogger(__name__)


def now() -> str:
    """The time as Kubernetes writes it."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


class Cluster:
    """Raises the errors of ``datastore.errors``; a refusal is a StatusError with its HTTP code."""

    def __init__(self, kubeconfig: bytes) -> None:
        self.rest = Rest(from_kubeconfig(kubeconfig, "admin.conf"), agent="pycalico-lab")

    def get(self, kind: str, name: str, namespace: str = "") -> Object | None:
        """None when there is no such object."""
        try:
            return self.rest.get(_path(kind, namespace, name), dict)
        except StatusError as error:
            if error.code == 404:
                return None
            raise

    def list(self, kind: str, namespace: str = "", *, selector: str = "") -> list[Object]:
        query = {"labelSelector": selector} if selector else None
        return self.rest.list(_path(kind, namespace), dict, query=query).items

    def create(self, item: Object) -> Object:
        meta = item["metadata"]
        return self.rest.create(_path(item["kind"], meta.get("namespace", "")), item, dict)

    def apply(self, item: Object) -> None:
        """Creates the object; one that is there already is left as it is."""
        try:
            self.create(item)
        except StatusError as error:
            if error.code != 409:
                raise

    def merge(self, item: Object, part: Object) -> None:
        """Merges ``part`` into this very object; one that is gone meanwhile is no error."""
        meta = item["metadata"]
        path = _path(item["kind"], meta.get("namespace", ""), meta["name"])
        try:
            self.rest.patch(path, {"metadata": {"uid": meta["uid"]}, **part}, dict, MERGE_PATCH)
        except StatusError as error:
            if error.code not in (404, 409):
                raise

    def patch_status(self, item: Object, status: Object, *, strategic: bool = False) -> None:
        """Merges into the status; an object that is gone meanwhile is no error."""
        meta = item["metadata"]
        path = _path(item["kind"], meta.get("namespace", ""), meta["name"], "status")
        body = {"metadata": {"uid": meta["uid"]}, "status": status}
        try:
            self.rest.patch(path, body, dict, STRATEGIC_PATCH if strategic else MERGE_PATCH)
        except StatusError as error:
            if error.code not in (404, 409):
                raise

    def bind(self, pod: Object, node: str) -> None:
        meta = pod["metadata"]
        target = {"apiVersion": "v1", "kind": "Node", "name": node}
        body = {
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"name": meta["name"], "uid": meta["uid"]},
            "target": target,
        }
        self.rest.request("POST", _path("Pod", meta["namespace"], meta["name"], "binding"), body=body)

    def delete(self, item: Object, *, grace_s: int | None = None) -> None:
        """Deletes this very object (by uid); one that is gone already is no error."""
        meta = item["metadata"]
        path = _path(item["kind"], meta.get("namespace", ""), meta["name"])
        try:
            self.rest.delete(path, uid=meta["uid"], grace_s=grace_s)
        except StatusError as error:
            if error.code not in (404, 409):
                raise

    def token(self, namespace: str, account: str) -> str:
        """A token of a service account, valid for a day."""
        body = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {"expirationSeconds": 86400},
        }
        path = _path("ServiceAccount", namespace, account, "token")
        return str(self.rest.create(path, body, dict)["status"]["token"])


class Cache:
    """All objects of one kind, kept current by a thread; ``changed`` is called after each change."""

    def __init__(self, cluster: Cluster, kind: str, changed: Callable[[], None]) -> None:
        self.synced = threading.Event()
        self._cluster = cluster
        self._kind = kind
        self._changed = changed
        self._objects: dict[tuple[str, str], Object] = {}
        self._lock = threading.Lock()
        threading.Thread(target=self._run, name=f"watch-{kind}", daemon=True).start()

    def all(self) -> list[Object]:
        """In the order in which they were first seen."""
        with self._lock:
            return list(self._objects.values())

    def get(self, namespace: str, name: str) -> Object | None:
        with self._lock:
            return self._objects.get((namespace, name))

    def _run(self) -> None:
        while True:
            try:
                self._follow()
            except DatastoreError as error:
                _log.warning("watching %s: %s; again in 1 s", self._kind, error)
            time.sleep(1.0 if self.synced.is_set() else 0.1)

    def _follow(self) -> None:
        page = self._cluster.rest.list(_path(self._kind), dict)
        with self._lock:
            self._objects = {_key(item): self._typed(item) for item in page.items}
        self.synced.set()
        self._changed()
        for event in self._cluster.rest.watch(_path(self._kind), revision=page.revision):
            if event.type == "BOOKMARK":
                continue
            item: Object = msgspec.json.decode(event.object)
            with self._lock:
                if event.type == "DELETED":
                    self._objects.pop(_key(item), None)
                else:
                    self._objects[_key(item)] = self._typed(item)
            self._changed()

    def _typed(self, item: Object) -> Object:
        """Items of a list come without their kind."""
        return {"apiVersion": KINDS[self._kind][0], "kind": self._kind, **item}


def _key(item: Object) -> tuple[str, str]:
    return item["metadata"].get("namespace", ""), item["metadata"]["name"]


def _path(kind: str, namespace: str = "", name: str = "", sub: str = "") -> str:
    api, plural, namespaced = KINDS[kind]
    return path_of(api, plural, namespace if namespaced else "", name, sub)
