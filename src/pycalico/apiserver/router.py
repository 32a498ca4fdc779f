"""From a request to its answer: paths, content types, query parameters, and what form the answer takes."""

from __future__ import annotations

import base64
import binascii
import logging
import random
from collections import OrderedDict
from typing import Any, Final

import msgspec

from pycalico.apiserver import errors, forms, parameters, patching, selectors, store, subresources
from pycalico.apiserver.auth import Authenticator
from pycalico.apiserver.connection import Response
from pycalico.apiserver.documents import Documents
from pycalico.apiserver.http1 import Request
from pycalico.apiserver.kinds import Resource
from pycalico.apiserver.mergekeys import shape_of
from pycalico.apiserver.registry import Registry
from pycalico.apiserver.verbs import Verbs, Written
from pycalico.apiserver.watching import Filter, Hub, Shown, Watcher

log = logging.getLogger(__name__)
Obj = dict[str, Any]
_encode = msgspec.json.encode

_OPEN: Final = frozenset({"/healthz", "/livez", "/readyz", "/version"})
_PAGES: Final = 64  # list snapshots kept for paging clients


class Target(msgspec.Struct, frozen=True):
    """What a path names; ``name`` "" is the collection, ``sub`` a sub-resource."""

    resource: Resource
    namespace: str
    name: str
    sub: str

    @property
    def key(self) -> store.Key:
        return self.namespace, self.name


class Router:
    """Answers requests. `handle` never raises."""

    def __init__(
        self,
        objects: store.Store,
        registry: Registry,
        verbs: Verbs,
        hub: Hub,
        authenticator: Authenticator,
        address: str,
    ) -> None:
        self._store = objects
        self._registry = registry
        self._verbs = verbs
        self._hub = hub
        self._auth = authenticator
        self._subresources = subresources.Subresources(objects, verbs, authenticator)
        self._pages: OrderedDict[str, tuple[int, list[store.Entry]]] = OrderedDict()
        self._documents = Documents(registry, address)

    def handle(self, request: Request) -> Response:
        try:
            return self._answer(request)
        except errors.StatusError as e:
            extra = {401: (("WWW-Authenticate", "Bearer"),), 429: (("Retry-After", "1"),)}
            return Response(e.code, _encode(e.to_wire()), headers=extra.get(e.code, ()))
        except store.StoreError as e:
            log.error("%s", e)  # noqa: TRY400 (one line says it)
            return forms.failure(str(e))
        except RecursionError:
            return Response(400, _encode(errors.bad_request("the object is nested too deeply").to_wire()))
        except Exception:
            log.exception("request %s %s failed", request.method, request.path)
            return forms.failure("the server met an unexpected condition; its log says more")

    def _answer(self, request: Request) -> Response:
        path = request.path.rstrip("/") or "/"
        if path.split("/", 2)[1] in ("healthz", "livez", "readyz"):
            return Response(200, b"ok", "text/plain; charset=utf-8")
        if path not in _OPEN:
            request.user = self._auth.user_of(request)
        if path.startswith(("/api/", "/apis/")) and (target := self._target(path)) is not None:
            return self._resource(request, target)
        if request.method not in ("GET", "HEAD"):
            raise errors.no_such_path() if not path.startswith("/api") else errors.method_not_allowed()
        return self._documents.get(path, request.headers.get("accept", ""))

    # --- resources --------------------------------------------------------------------------------------

    def _target(self, path: str) -> Target | None:
        parts = path.split("/")[1:]
        if parts[0] == "api":
            group, version, rest = "", parts[1], parts[2:]
        else:
            if len(parts) < 4:
                return None
            group, version, rest = parts[1], parts[2], parts[3:]
        if not rest:
            return None
        namespace = ""
        if (
            rest[0] == "namespaces"
            and len(rest) >= 3
            and not (group == "" and len(rest) == 3 and rest[2] in ("status", "finalize"))
        ):
            namespace, rest = rest[1], rest[2:]
        resource = self._registry.find(group, version, rest[0])
        if resource is None or len(rest) > 3 or (namespace and not resource.namespaced):
            raise errors.no_such_path()
        name = rest[1] if len(rest) > 1 else ""
        if name and resource.namespaced and not namespace:
            raise errors.no_such_path()
        return Target(resource, namespace, name, rest[2] if len(rest) > 2 else "")

    def _resource(self, request: Request, target: Target) -> Response:
        method, resource = request.method, target.resource
        if target.sub and target.sub != "status":
            return self._subresource(request, target)
        if target.sub == "status" and not resource.status:
            raise errors.no_such_path()
        if resource.verbs == ("create",):
            if method != "POST" or target.name:
                raise errors.method_not_allowed()
            body = subresources.review(resource, parameters.body(request), request.user, self._auth)
            return Response(201, _encode(body))
        if not target.name:
            match method:
                case "GET" | "HEAD":
                    return self._collection(request, target)
                case "POST":
                    if resource.namespaced and not target.namespace:
                        raise errors.bad_request("an empty namespace may not be set during creation")
                    written = self._verbs.create(
                        resource, target.namespace, parameters.body(request), parameters.options(request)
                    )
                    return self._written(request, resource, written)
                case "DELETE":
                    return self._delete_collection(request, target)
            raise errors.method_not_allowed()
        match method:
            case "GET" | "HEAD":
                if parameters.true(request.query.get("watch")):
                    return self._collection(request, target)
                return self._one(request, resource, self._verbs.get(resource, target.key))
            case "PUT":
                written = self._verbs.update(
                    resource, target.key, parameters.body(request), parameters.options(request), target.sub
                )
                return self._written(request, resource, written)
            case "PATCH":
                return self._written(request, resource, self._patch(request, target))
            case "DELETE" if not target.sub:
                return self._delete(request, target)
        raise errors.method_not_allowed()

    def _subresource(self, request: Request, target: Target) -> Response:
        resource, sub = target.resource, target.sub
        known = {name for name, _ in resource.extra} | ({"scale"} if resource.scale else set())
        if sub not in known or not target.name:
            raise errors.no_such_path()
        if sub == "scale":
            return self._scale(request, target)
        if sub == "finalize":
            written = self._verbs.update(
                resource, target.key, parameters.body(request), parameters.options(request)
            )
            return self._written(request, resource, written)
        if request.method != "POST":
            raise errors.method_not_allowed()
        dry_run = parameters.options(request).dry_run
        answer = self._subresources.post(resource, target.key, sub, parameters.body(request), dry_run=dry_run)
        return Response(201, _encode(answer))

    def _scale(self, request: Request, target: Target) -> Response:
        resource = target.resource
        entry = self._verbs.get(resource, target.key)
        if request.method == "GET":
            return Response(200, _encode(subresources.scale_of(entry.obj)))
        scale = subresources.scale_of(entry.obj)
        new = self._patched(request, target, scale) if request.method == "PATCH" else parameters.body(request)
        replicas = (new.get("spec") or {}).get("replicas", 0)
        if not isinstance(replicas, int) or replicas < 0:
            text = f"Invalid value: {replicas}: must be greater than or equal to 0"
            raise errors.invalid(resource, target.name, [("spec.replicas", "FieldValueInvalid", text)])

        def change(obj: Obj) -> Obj:
            obj["spec"]["replicas"] = replicas
            if version := (new.get("metadata") or {}).get("resourceVersion"):
                obj["metadata"]["resourceVersion"] = version
            return obj

        written = self._verbs.patch(resource, target.key, change, parameters.options(request))
        return Response(200, _encode(subresources.scale_of(written.entry.obj)))

    # --- reading ------------------------------------------------------------------------------------------

    def _filter(self, request: Request, target: Target) -> Filter:
        labels = selectors.parse_labels(request.query.get("labelSelector", ""))
        fields, name = selectors.parse_fields(
            request.query.get("fieldSelector", ""), target.resource.selectable
        )
        return Filter(target.namespace, target.name or name, labels, fields)

    def _collection(self, request: Request, target: Target) -> Response:
        query, resource = request.query, target.resource
        seen = self._filter(request, target)
        shown = forms.form_of(request, resource)
        if parameters.true(query.get("watch")):
            return self._watch(request, target, seen, shown)
        match_rule = query.get("resourceVersionMatch")
        asked = parameters.version(query.get("resourceVersion"))
        if match_rule and match_rule not in ("Exact", "NotOlderThan"):
            raise errors.bad_request(f"resourceVersionMatch {match_rule!r} is not known")
        if match_rule and "resourceVersion" not in query:
            raise errors.bad_request("resourceVersionMatch is forbidden unless resourceVersion is provided")
        if asked and asked > self._store.rv:
            raise errors.too_large_resource_version(asked, self._store.rv)
        if match_rule == "Exact" and asked and asked != self._store.rv:
            raise errors.gone("The resourceVersion for the provided list is too old.")
        limit = parameters.number(query.get("limit"), "limit") or 0
        rv = self._store.rv
        if token := query.get("continue"):
            rv, found = self._page(token)
        else:
            table = self._store.table(resource.id)
            order = table.ordered()
            found = [table.entries[key] for key in order]
            if not seen.all:
                found = [entry for entry in found if seen.selects(entry)]
        metadata: Obj = {"resourceVersion": str(rv)}
        if limit and len(found) > limit:
            metadata["continue"] = self._keep(rv, found[limit:])
            metadata["remainingItemCount"] = len(found) - limit
            found = found[:limit]
        return Response(200, forms.list_body(request, resource, found, metadata, shown))

    def _keep(self, rv: int, rest: list[store.Entry]) -> str:
        """Keep the rest of a list for the next page: later pages show the moment of the first."""
        mark = f"{random.getrandbits(64):016x}"
        self._pages[mark] = (rv, rest)
        while len(self._pages) > _PAGES:
            self._pages.popitem(last=False)
        return base64.urlsafe_b64encode(_encode({"v": "meta.k8s.io/v1", "rv": rv, "page": mark})).decode()

    def _page(self, token: str) -> tuple[int, list[store.Entry]]:
        try:
            mark = msgspec.json.decode(base64.urlsafe_b64decode(token))["page"]
        except (binascii.Error, ValueError, KeyError, TypeError):
            raise errors.bad_request("continue key is not valid") from None
        kept = self._pages.get(str(mark))
        if kept is None:
            raise errors.gone(
                "The provided continue parameter is too old to display a consistent list result. You can start "
                "a new list without the continue parameter."
            )
        return kept

    def _watch(self, request: Request, target: Target, seen: Filter, shown: Shown | None) -> Response:
        query, resource = request.query, target.resource
        version = parameters.version(query.get("resourceVersion"))
        timeout = parameters.number(query.get("timeoutSeconds"), "timeoutSeconds")
        initial = parameters.true(query.get("sendInitialEvents"))
        bookmarks = None
        if parameters.true(query.get("allowWatchBookmarks")):
            bookmarks = {"kind": resource.kind, "apiVersion": resource.api_version}
        watcher = Watcher(seen, shown, bookmarks)
        return self._hub.open(
            resource.id,
            watcher,
            None if initial or not version else version,
            float(timeout or random.uniform(1800, 3600)),  # noqa: S311 (spreads reconnects)
            mark_initial=initial and bookmarks is not None,
        )

    def _one(self, request: Request, resource: Resource, entry: store.Entry, code: int = 200) -> Response:
        asked = parameters.version(request.query.get("resourceVersion"))
        if asked and asked > self._store.rv:
            raise errors.too_large_resource_version(asked, self._store.rv)
        shown = forms.form_of(request, resource)
        return Response(code, shown(entry) if shown else entry.raw)

    # --- writing ------------------------------------------------------------------------------------------

    def _written(self, request: Request, resource: Resource, written: Written) -> Response:
        shown = forms.form_of(request, resource)
        body = shown(written.entry) if shown else written.entry.raw
        headers = tuple(("Warning", f'299 - "{forms.quoted(text)}"') for text in written.warnings)
        return Response(201 if written.created else 200, body, headers=headers)

    def _patch(self, request: Request, target: Target) -> Written:
        options = parameters.options(request)
        if parameters.content_type(request) == parameters.APPLY_PATCH and not target.sub:
            applied = parameters.body(request)
            metadata = applied.get("metadata")
            if isinstance(metadata, dict):
                metadata.pop("managedFields", None)
            if self._store.get(target.resource.id, target.key) is None:
                if not isinstance(metadata, dict):
                    applied["metadata"] = metadata = {}
                metadata.setdefault("name", target.name)
                return self._verbs.create(target.resource, target.namespace, applied, options)
        return self._verbs.patch(
            target.resource,
            target.key,
            lambda obj: self._patched(request, target, obj),
            options,
            target.sub,
        )

    def _patched(self, request: Request, target: Target, obj: Obj) -> Any:
        content_type = parameters.content_type(request)
        resource = target.resource
        allowed = [parameters.JSON_PATCH, parameters.MERGE_PATCH, parameters.APPLY_PATCH]
        if not resource.custom:
            allowed.append(parameters.STRATEGIC_PATCH)
        if content_type not in allowed:
            raise errors.unsupported_media_type(content_type, ", ".join(allowed))
        try:
            if content_type == parameters.APPLY_PATCH:
                return patching.apply_merge(obj, parameters.body(request), shape_of(resource.id))
            patch = parameters.decode(request.body)
            if content_type == parameters.JSON_PATCH:
                return patching.json_patch(obj, patch)
            if content_type == parameters.MERGE_PATCH:
                return patching.merge_patch(obj, patch)
            return patching.strategic_merge_patch(obj, patch, shape_of(resource.id))
        except patching.PatchError as e:
            if content_type == parameters.JSON_PATCH:
                raise errors.StatusError(422, "Invalid", f"the server rejected our request: {e}") from None
            raise errors.bad_request(str(e)) from None

    def _delete(self, request: Request, target: Target) -> Response:
        resource = target.resource
        written = self._verbs.delete(resource, target.key, parameters.delete_options(request))
        if not written.gone or resource.id in ("pods", "services", "serviceaccounts"):
            return self._written(request, resource, written)
        details: Obj = {"name": target.name}
        if resource.group:
            details["group"] = resource.group
        details["kind"] = resource.plural
        details["uid"] = written.entry.obj["metadata"]["uid"]
        status = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"}
        return Response(200, _encode({**status, "details": details}))

    def _delete_collection(self, request: Request, target: Target) -> Response:
        options = parameters.delete_options(request)
        seen = self._filter(request, target)
        found = [e for e in self._store.entries(target.resource.id) if seen.selects(e)]
        for entry in found:
            self._verbs.delete(target.resource, entry.key, options)
        metadata: Obj = {"resourceVersion": str(self._store.rv)}
        return Response(200, forms.list_body(request, target.resource, found, metadata, None))
