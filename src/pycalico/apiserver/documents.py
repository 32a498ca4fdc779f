"""The documents about the server itself: version, discovery, OpenAPI. Kept until a CRD comes or goes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from pycalico.apiserver import discovery, errors, openapi, swagger
from pycalico.apiserver.connection import JSON, Response
from pycalico.apiserver.registry import Registry

Obj = dict[str, Any]
_encode = msgspec.json.encode


class Documents:
    """Answers GETs outside of resources; ``address`` is what discovery tells clients to use."""

    def __init__(self, registry: Registry, address: str) -> None:
        self._registry = registry
        self._address = address
        self._documents: dict[str, tuple[int, bytes]] = {}

    def get(self, path: str, accept: str) -> Response:
        form = "v2" if "v=v2;" in accept + ";" else "v2beta1" if "v=v2beta1" in accept else ""
        if path in ("/api", "/apis") and form and "APIGroupDiscoveryList" in accept:
            body = self._cached(
                f"{path} {form}",
                lambda: discovery.aggregated(self._registry, core=path == "/api", form=form),
            )
            return Response(200, body, f"{JSON};g=apidiscovery.k8s.io;v={form};as=APIGroupDiscoveryList")
        if path == "/openapi/v2" and swagger.ACCEPT in accept:
            body = self._cached(
                "/openapi/v2 protobuf", lambda: swagger.encode(openapi.version_2(self._registry))
            )
            return Response(200, body, swagger.CONTENT_TYPE)
        return Response(200, self._cached(path, lambda: self._make_document(path)))

    def _cached(self, name: str, make: Callable[[], Obj | bytes | None]) -> bytes:
        revision, body = self._documents.get(name, (-1, b""))
        if revision != self._registry.revision:
            made = make()
            if made is None:
                raise errors.no_such_path()
            body = made if isinstance(made, bytes) else _encode(made)
            self._documents[name] = (self._registry.revision, body)
        return body

    def _make_document(self, path: str) -> Obj | None:
        registry = self._registry
        match path.strip("/").split("/"):
            case ["version"]:
                return discovery.VERSION
            case ["api"]:
                return discovery.core_versions(self._address)
            case ["apis"]:
                return discovery.group_list(registry)
            case ["api", version] if registry.has_group_version("", version):
                return discovery.resource_list(registry, "", version)
            case ["apis", group]:
                return discovery.group(registry, group)
            case ["apis", group, version] if registry.has_group_version(group, version):
                return discovery.resource_list(registry, group, version)
            case ["openapi", "v2"]:
                return openapi.version_2(registry)
            case ["openapi", "v3"]:
                return openapi.index(registry)
            case ["openapi", "v3", "api", version] if registry.has_group_version("", version):
                return openapi.version_3(registry, "", version)
            case ["openapi", "v3", "apis", group, version] if registry.has_group_version(group, version):
                return openapi.version_3(registry, group, version)
            case [""]:
                return {"paths": ["/api", "/apis", "/healthz", "/livez", "/openapi/v2", "/openapi/v3",
                                  "/readyz", "/version"]}  # fmt: skip
        return None
