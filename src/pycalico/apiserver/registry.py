"""Which resources are served right now: the built-in ones and those of the stored CRDs."""

from __future__ import annotations

from typing import Any, Final

from pycalico.apiserver import kinds
from pycalico.apiserver.kinds import Resource

Obj = dict[str, Any]

#: Group order of discovery: kubectl resolves an ambiguous short name by it.
_FIRST: Final = ("", "apps", "batch", "networking.k8s.io", "policy", "rbac.authorization.k8s.io")


class Registry:
    """Look-up of resources by path. ``revision`` grows with each change, for caches built on it."""

    def __init__(self) -> None:
        self.revision = 0
        self._by_path: dict[tuple[str, str, str], Resource] = {}
        self._by_id: dict[str, Resource] = {}
        self._custom: dict[str, list[Resource]] = {}
        self._versions: dict[str, list[str]] = {}
        for resource in kinds.BUILT_IN:
            self._add(resource)

    def _add(self, resource: Resource) -> None:
        self._by_path[resource.group, resource.version, resource.plural] = resource
        self._by_id.setdefault(resource.id, resource)

    def find(self, group: str, version: str, plural: str) -> Resource | None:
        return self._by_path.get((group, version, plural))

    def by_id(self, resource_id: str) -> Resource | None:
        return self._by_id.get(resource_id)

    def by_kind(self, api_version: str, kind: str) -> Resource | None:
        group, _, version = api_version.rpartition("/")
        return next(
            (r for r in self._by_path.values() if (r.group, r.version, r.kind) == (group, version, kind)),
            None,
        )

    def all(self) -> list[Resource]:
        def order(resource: Resource) -> tuple[int, str, str]:
            rank = _FIRST.index(resource.group) if resource.group in _FIRST else len(_FIRST)
            return rank, resource.group, resource.plural

        return sorted(self._by_path.values(), key=order)

    def stored(self) -> list[Resource]:
        """One row for each resource id that holds objects."""
        return [r for r in self._by_id.values() if "list" in r.verbs]

    def has_group_version(self, group: str, version: str) -> bool:
        return any(r.group == group and r.version == version for r in self._by_path.values())

    def install(self, crd: Obj) -> None:
        """Serve (or serve anew) what a CRD declares."""
        self.withdraw(crd)
        rows = _resources_of(crd)
        self._custom[crd["metadata"]["name"]] = rows
        for row in rows:
            self._add(row)
        self.revision += 1

    def withdraw(self, crd: Obj) -> list[Resource]:
        rows = self._custom.pop(crd["metadata"]["name"], [])
        for row in rows:
            self._by_path.pop((row.group, row.version, row.plural), None)
            self._by_id.pop(row.id, None)
        self.revision += 1
        return rows


def _resources_of(crd: Obj) -> list[Resource]:
    spec = crd["spec"]
    names = spec["names"]
    versions = [v for v in spec["versions"] if v.get("served")]
    storage = next((v["name"] for v in spec["versions"] if v.get("storage")), "")
    # The storage version first: it is the one that `by_id` answers and discovery prefers.
    versions.sort(key=lambda v: v["name"] != storage)
    return [
        Resource(
            spec["group"],
            version["name"],
            names["plural"],
            names["kind"],
            namespaced=spec.get("scope") == "Namespaced",
            short=tuple(names.get("shortNames") or ()),
            categories=tuple(names.get("categories") or ()),
            status="status" in (version.get("subresources") or {}),
            scale=False,
            generation=True,
            custom=True,
            singular=names.get("singular") or names["kind"].lower(),
            list_kind=names.get("listKind") or names["kind"] + "List",
            schema=(version.get("schema") or {}).get("openAPIV3Schema"),
            columns=tuple(version.get("additionalPrinterColumns") or ()) or None,
            selectable=tuple(
                f["jsonPath"].lstrip(".") for f in version.get("selectableFields") or () if f.get("jsonPath")
            ),
            storage_version=storage,
        )
        for version in versions
    ]
