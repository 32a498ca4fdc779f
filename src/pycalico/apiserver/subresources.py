"""Sub-resources that act rather than store (binding, eviction, token, scale) and the review kinds."""

from __future__ import annotations

import datetime as dt
from typing import Any

from pycalico.apiserver import errors, kinds
from pycalico.apiserver.admission import now
from pycalico.apiserver.auth import Authenticator
from pycalico.apiserver.kinds import Resource
from pycalico.apiserver.store import Key, Store
from pycalico.apiserver.verbs import DeleteOptions, Options, Verbs

Obj = dict[str, Any]
_SUCCESS: Obj = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}


class Subresources:
    """POSTs below an object."""

    def __init__(self, objects: Store, verbs: Verbs, authenticator: Authenticator) -> None:
        self._store = objects
        self._verbs = verbs
        self._auth = authenticator

    def post(self, resource: Resource, key: Key, sub: str, body: Obj, *, dry_run: bool) -> Obj:
        if sub == "binding":
            return self._bind(key, body, dry_run=dry_run)
        if sub == "eviction":
            return self._evict(key, body, dry_run=dry_run)
        account = self._verbs.get(resource, key).obj
        spec = {key: value for key, value in (body.get("spec") or {}).items() if value is not None}
        token, end = self._auth.issue(account, spec)
        when = dt.datetime.fromtimestamp(end, dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        return {
            "kind": "TokenRequest",
            "apiVersion": "authentication.k8s.io/v1",
            "metadata": {"name": key[1], "namespace": key[0], "creationTimestamp": now()},
            "spec": {"audiences": [], "expirationSeconds": 3600, "boundObjectRef": None, **spec},
            "status": {"token": token, "expirationTimestamp": when},
        }

    def _bind(self, key: Key, body: Obj, *, dry_run: bool) -> Obj:
        node = (body.get("target") or {}).get("name")
        if not node:
            causes = [("target.name", "FieldValueRequired", "Required value")]
            raise errors.invalid(kinds.POD, key[1], causes)
        given = body.get("metadata") or {}

        def bind(pod: Obj) -> Obj:
            if pod["metadata"].get("deletionTimestamp"):
                raise errors.conflict(
                    kinds.POD, key[1], f"pod {key[1]} is being deleted, cannot be assigned to a host"
                )
            if there := pod["spec"].get("nodeName"):
                why = f'pod {key[1]} is already assigned to node "{there}"'
                raise errors.conflict(kinds.POD, key[1], why)
            pod["spec"]["nodeName"] = node
            if given.get("annotations"):
                pod["metadata"].setdefault("annotations", {}).update(given["annotations"])
            return pod

        def scheduled(pod: Obj) -> Obj:
            conditions = pod.setdefault("status", {}).setdefault("conditions", [])
            conditions[:] = [c for c in conditions if c.get("type") != "PodScheduled"]
            conditions.append({"type": "PodScheduled", "status": "True", "lastProbeTime": None,
                               "lastTransitionTime": now()})  # fmt: skip
            return pod

        options = Options(dry_run=dry_run)
        self._verbs.patch(kinds.POD, key, bind, options)
        if not dry_run:
            self._verbs.patch(kinds.POD, key, scheduled, options, "status")
        return _SUCCESS

    def _evict(self, key: Key, body: Obj, *, dry_run: bool) -> Obj:
        """Delete a pod unless a disruption budget whose status counts no allowed disruption covers it."""
        given = body.get("deleteOptions") or {}
        pod = self._verbs.get(kinds.POD, key)
        for budget in self._store.entries("poddisruptionbudgets.policy"):
            selector = (budget.obj.get("spec") or {}).get("selector") or {}
            wanted = selector.get("matchLabels") or {}
            labels = pod.obj["metadata"].get("labels") or {}
            covers = budget.key[0] == key[0] and wanted and wanted.items() <= labels.items()
            if covers and (budget.obj.get("status") or {}).get("disruptionsAllowed") == 0:
                raise errors.too_many_requests(
                    "Cannot evict pod as it would violate the pod's disruption budget.", 10
                )
        preconditions = given.get("preconditions") or {}
        options = DeleteOptions(
            dry_run=dry_run,
            grace_s=given.get("gracePeriodSeconds"),
            uid=preconditions.get("uid"),
            resource_version=preconditions.get("resourceVersion"),
        )
        self._verbs.delete(kinds.POD, key, options)
        return _SUCCESS


def scale_of(obj: Obj) -> Obj:
    metadata, spec = obj["metadata"], obj.get("spec") or {}
    matched = ((spec.get("selector") or {}).get("matchLabels") or {}).items()
    keep = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
    return {
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": {field: metadata[field] for field in keep if field in metadata},
        "spec": {"replicas": spec.get("replicas", 0)},
        "status": {
            "replicas": (obj.get("status") or {}).get("replicas", 0),
            "selector": ",".join(f"{key}={value}" for key, value in sorted(matched)),
        },
    }


def review(resource: Resource, body: Obj, user: str, authenticator: Authenticator) -> Obj:
    """Answer a review: authentication is real, authorization always allows (there is none)."""
    body["kind"], body["apiVersion"] = resource.kind, resource.api_version
    body.setdefault("metadata", {})
    spec = body.setdefault("spec", {})
    match resource.kind:
        case "TokenReview":
            name = authenticator.review(str(spec.get("token", "")))
            body["status"] = {"authenticated": name is not None}
            if name is not None:
                body["status"]["user"] = {"username": name, "groups": ["system:authenticated"]}
                if spec.get("audiences"):
                    body["status"]["audiences"] = spec["audiences"]
        case "SelfSubjectReview":
            groups = ["system:masters", "system:authenticated"]
            body["status"] = {"userInfo": {"username": user, "groups": groups}}
            del body["spec"]
        case "SelfSubjectRulesReview":
            every = ["*"]
            rule = {"verbs": every, "apiGroups": every, "resources": every}
            urls = {"verbs": every, "nonResourceURLs": every}
            body["status"] = {"resourceRules": [rule], "nonResourceRules": [urls], "incomplete": False}
        case _:
            body["status"] = {"allowed": True, "reason": "this server does not restrict what users may do"}
    return body
