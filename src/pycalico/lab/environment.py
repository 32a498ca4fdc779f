"""A container's environment variables, from its specification."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from pycalico.lab.cluster import Object

_FIELDS = ("metadata.", "spec.", "status.")


class NoSource(Exception):
    """A variable's source is not there, or is of a kind the lab does not offer."""


ValueOf = Callable[[str, str, str], str | None]
AllOf = Callable[[str, str], dict[str, str] | None]


def of(container: Object, facts: Mapping[str, str], value_of: ValueOf, all_of: AllOf) -> dict[str, str]:
    """``facts`` are the pod's fields; ConfigMaps and Secrets are read by ``value_of(kind, name, key)`` and ``all_of(kind, name)``.

    Raises NoSource.
    """
    env = {
        "HOSTNAME": facts["hostname"],
        # Without a service proxy the API is reached at the server itself.
        "KUBERNETES_SERVICE_HOST": facts["api.host"],
        "KUBERNETES_SERVICE_PORT": facts["api.port"],
    }
    for source in container.get("envFrom") or []:
        env |= _whole(source, all_of)
    for one in container.get("env") or []:
        name = one["name"]
        value = _from(name, one["valueFrom"], facts, value_of) if "valueFrom" in one else one.get("value", "")
        if value is not None:
            env[name] = value
    return env


def _whole(source: Object, all_of: AllOf) -> dict[str, str]:
    """Every key of a ConfigMap or Secret; none where it is optional and not there."""
    for reference, kind in (("configMapRef", "ConfigMap"), ("secretRef", "Secret")):
        if reference in source:
            wanted = source[reference]
            values = all_of(kind, wanted["name"])
            if values is None and not wanted.get("optional"):
                raise NoSource(f"envFrom: {kind} {wanted['name']} is not there")
            return {source.get("prefix", "") + key: value for key, value in (values or {}).items()}
    raise NoSource("envFrom: its source is not offered")


def _from(name: str, source: Object, facts: Mapping[str, str], value_of: ValueOf) -> str | None:
    """None for an optional key that is not there."""
    if "fieldRef" in source:
        field = source["fieldRef"]["fieldPath"]
        if field not in facts or not field.startswith(_FIELDS):
            raise NoSource(f"env {name}: field {field} is not offered")
        return facts[field]
    for reference, kind in (("configMapKeyRef", "ConfigMap"), ("secretKeyRef", "Secret")):
        if reference in source:
            wanted = source[reference]
            value = value_of(kind, wanted["name"], wanted["key"])
            if value is None and not wanted.get("optional"):
                raise NoSource(f"env {name}: {kind} {wanted['name']} has no key {wanted['key']}")
            return value
    raise NoSource(f"env {name}: its source is not offered")
