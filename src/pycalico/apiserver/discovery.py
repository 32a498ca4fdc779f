"""Discovery documents: what is served, in the plain form and in the aggregated one that kubectl asks for."""

from __future__ import annotations

from typing import Any

from pycalico.apiserver.kinds import Resource
from pycalico.apiserver.registry import Registry

Obj = dict[str, Any]

#: What this server says it is: the Kubernetes release whose API it resembles.
VERSION: Obj = {
    "major": "1",
    "minor": "29",
    "gitVersion": "v1.29.0",
    "gitCommit": "",
    "gitTreeState": "clean",
    "buildDate": "1970-01-01T00:00:00Z",
    "goVersion": "",
    "compiler": "",
    "platform": "linux/amd64",
}


def _subresources(resource: Resource) -> list[tuple[str, str, str, list[str]]]:
    """(name, kind, apiVersion of the kind, verbs) of each sub-resource."""
    rows = []
    if resource.status:
        rows.append(("status", resource.kind, resource.api_version, ["get", "patch", "update"]))
    if resource.scale:
        rows.append(("scale", "Scale", "autoscaling/v1", ["get", "patch", "update"]))
    versions = {"Eviction": "policy/v1", "TokenRequest": "authentication.k8s.io/v1"}
    for name, kind in resource.extra:
        verbs = ["update"] if name == "finalize" else ["create"]
        rows.append((name, kind, versions.get(kind, resource.api_version), verbs))
    return rows


def _split(api_version: str) -> tuple[str, str]:
    group, _, version = api_version.rpartition("/")
    return group, version


def _groups(registry: Registry) -> dict[str, list[str]]:
    groups: dict[str, list[str]] = {}
    for resource in registry.all():
        versions = groups.setdefault(resource.group, [])
        if resource.version not in versions:
            versions.append(resource.version)
    return groups


def core_versions(address: str) -> Obj:
    pairs = [{"clientCIDR": "0.0.0.0/0", "serverAddress": address}]
    return {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": pairs}


def group(registry: Registry, name: str) -> Obj | None:
    versions = _groups(registry).get(name)
    if versions is None:
        return None
    listed = [{"groupVersion": f"{name}/{version}", "version": version} for version in versions]
    return {
        "kind": "APIGroup",
        "apiVersion": "v1",
        "name": name,
        "versions": listed,
        "preferredVersion": listed[0],
    }


def group_list(registry: Registry) -> Obj:
    found = [group(registry, name) for name in _groups(registry) if name]
    for one in found:
        if one is not None:
            del one["kind"], one["apiVersion"]
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": found}


def resource_list(registry: Registry, group_name: str, version: str) -> Obj:
    rows: list[Obj] = []
    for resource in registry.all():
        if (resource.group, resource.version) != (group_name, version):
            continue
        row: Obj = {
            "name": resource.plural,
            "singularName": resource.wire_singular,
            "namespaced": resource.namespaced,
            "kind": resource.kind,
            "verbs": list(resource.verbs),
        }
        if resource.short:
            row["shortNames"] = list(resource.short)
        if resource.categories:
            row["categories"] = list(resource.categories)
        rows.append(row)
        for name, kind, kind_version, verbs in _subresources(resource):
            sub: Obj = {
                "name": f"{resource.plural}/{name}",
                "singularName": "",
                "namespaced": resource.namespaced,
                "kind": kind,
                "verbs": verbs,
            }
            if kind_version != resource.api_version:
                sub["group"], sub["version"] = _split(kind_version)
            rows.append(sub)
    api_version = f"{group_name}/{version}" if group_name else version
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": api_version, "resources": rows}


def aggregated(registry: Registry, *, core: bool, form: str) -> Obj:
    """Everything in one document; ``form`` is v2 or v2beta1 of apidiscovery.k8s.io."""
    items = []
    for name, versions in _groups(registry).items():
        if (name == "") is not core:
            continue
        listed = [
            {
                "version": version,
                "resources": [
                    _aggregated_row(r) for r in registry.all() if (r.group, r.version) == (name, version)
                ],
                "freshness": "Current",
            }
            for version in versions
        ]
        items.append({"metadata": {"name": name, "creationTimestamp": None}, "versions": listed})
    return {
        "kind": "APIGroupDiscoveryList",
        "apiVersion": f"apidiscovery.k8s.io/{form}",
        "metadata": {},
        "items": items,
    }


def _aggregated_row(resource: Resource) -> Obj:
    def kind(api_version: str, name: str) -> Obj:
        group_name, version = _split(api_version)
        return {"group": group_name, "version": version, "kind": name}

    row: Obj = {
        "resource": resource.plural,
        "responseKind": kind(resource.api_version, resource.kind),
        "scope": "Namespaced" if resource.namespaced else "Cluster",
        "singularResource": resource.wire_singular,
        "verbs": list(resource.verbs),
    }
    if resource.short:
        row["shortNames"] = list(resource.short)
    if resource.categories:
        row["categories"] = list(resource.categories)
    if subs := _subresources(resource):
        row["subresources"] = [
            {"subresource": name, "responseKind": kind(version, of), "verbs": verbs}
            for name, of, version, verbs in subs
        ]
    return row
