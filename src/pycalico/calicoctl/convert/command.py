"""``calicoctl convert``: reads old manifests and writes new ones."""

from __future__ import annotations

import ipaddress
import sys
from collections.abc import Iterator
from typing import Any

import msgspec

from pycalico.api import goyaml, manifests, strict, validate
from pycalico.api.meta import Resource
from pycalico.api.v3.networkpolicy import NetworkPolicy
from pycalico.api.validate.values import is_mac
from pycalico.calicoctl import manifestfiles, output
from pycalico.calicoctl.convert import faults, legacy, resources
from pycalico.calicoctl.failure import Failure
from pycalico.calicoctl.syntax import Arguments
from pycalico.datastore.kubernetes import core
from pycalico.datastore.kubernetes.convert import networkpolicy

_KUBERNETES = "networking.k8s.io/v1"
_VERSION = "v1"
_LEGACY_TYPE = "unversioned.TypeMetadata"
#: Fields of v1 that hold an address or a network; ``_NETWORKS`` those that must have a prefix length.
_ADDRESSES = frozenset(("peerIP", "expectedIPs", "internalIP", "externalIP", "ipv4Gateway", "ipv6Gateway"))
_NETWORKS = frozenset(
    ("cidr", "net", "nets", "notNet", "notNets", "ipv4Address", "ipv6Address", "ipNetworks",
     "allow_spoofed_source_prefixes")
)  # fmt: skip


def run(arguments: Arguments) -> None:
    """Raises Failure."""
    form = arguments.text("--output")
    if form not in ("yaml", "yml", "json"):
        raise Failure(f"unrecognized output format '{form}'")
    try:
        found = list(_load(arguments.text("--filename")))
    except manifests.ManifestError as error:
        raise Failure(f"Failed to create resources from file: {error}") from error
    try:
        converted = [_converted(each) for each in found]
    except (resources.ConversionError, strict.StrictError) as error:
        raise Failure(f"Failed to convert resource: {error}") from error
    if "--ignore-validation" not in arguments.switches:
        for each in converted:
            _check(each)
    plain = [output.plain(each, "") for each in converted]
    value: Any = plain[0] if len(plain) == 1 else None
    if len(plain) > 1:
        value = {"kind": "List", "apiVersion": "v1", "metadata": {}, "items": plain}
    sys.stdout.write(output.json_text(value) + "\n" if form == "json" else output.yaml_text(value))


def _check(resource: Resource) -> None:
    try:
        validate.check(resource)
    except validate.ValidationError as error:
        raise Failure(
            f"Converted manifest resource(s) failed validation: {error}"
            "Re-run the command with '--ignore-validation' flag to see the converted output.\n"
        ) from error


def _converted(found: legacy.Legacy | core.NetworkPolicy) -> Resource:
    if not isinstance(found, core.NetworkPolicy):
        return resources.converted(found)
    policy = networkpolicy.from_kubernetes(found)
    meta = msgspec.structs.replace(
        policy.metadata,
        name=policy.metadata.name.removeprefix(networkpolicy.NAME_PREFIX),
        uid="",
        resource_version="",
        creation_timestamp=None,
    )
    return NetworkPolicy(metadata=meta, spec=policy.spec)


def _load(path: str) -> Iterator[legacy.Legacy | core.NetworkPolicy]:
    """Raises ManifestError."""
    for document in manifests.documents(manifestfiles.text_of(path)):
        try:
            value = goyaml.parse(document)
            for each in value if isinstance(value, list) else [value]:
                # What is empty is no resource: upstream refuses it here, and only here.
                yield from _decoded({} if each is None else each)
        except (manifests.ManifestError, faults.LegacyError) as error:
            raise manifests.ManifestError(str(error)) from error
        except (ValueError, msgspec.ValidationError) as error:
            raise manifests.ManifestError(f"error parsing document: {error}") from error


def _decoded(value: Any) -> Iterator[legacy.Legacy | core.NetworkPolicy]:
    if not isinstance(value, dict):
        # Upstream reads these into a type of another name.
        raise strict.StrictError(str(strict.whole(value)).replace("unstructured.Unstructured", _LEGACY_TYPE))
    kind, version = value.get("kind") or "", value.get("apiVersion") or ""
    if version == _KUBERNETES and kind == "NetworkPolicy":
        yield _policy(value)
    elif version == _VERSION and kind == "List":
        for item in value.get("items") or []:
            yield _policy(item)
    elif version == _VERSION and kind in legacy.KINDS:
        found = strict.decode(value, legacy.KINDS[kind])
        _check_addresses(value)
        faults.check(found)
        yield found
    else:
        raise manifests.ManifestError(f"Unknown resource type ({kind}) and/or version ({version})")


def _policy(value: dict[str, Any]) -> core.NetworkPolicy:
    body = {name: each for name, each in value.items() if name not in ("kind", "apiVersion", "status")}
    _check_fields(body.get("spec") or {}, core.NetworkPolicySpec)
    return msgspec.convert(body, core.NetworkPolicy, strict=False)


def _check_fields(value: Any, kind: Any) -> None:
    """A misspelt field would open what a policy was meant to close."""
    for option in (kind, *getattr(kind, "__args__", ())):
        if isinstance(value, list) and getattr(option, "__origin__", None) is list:
            for item in value:
                _check_fields(item, option.__args__[0])
        if isinstance(value, dict) and isinstance(option, type) and issubclass(option, msgspec.Struct):
            known = {field.encode_name: field.type for field in msgspec.structs.fields(option)}
            for name in sorted(value):
                if name not in known:
                    raise strict.StrictError(
                        f"field in document is not recognized or is in the wrong location: {name}"
                    )
                _check_fields(value[name], known[name])


def _check_addresses(value: Any, name: str = "") -> None:
    if isinstance(value, dict):
        for key, each in value.items():
            _check_addresses(each, key)
    elif isinstance(value, list):
        for each in value:
            _check_addresses(each, name)
    elif name == "mac" and isinstance(value, str) and value and not is_mac(value):
        raise strict.StrictError(f"address {value}: invalid MAC address")
    elif isinstance(value, str) and name in _ADDRESSES | _NETWORKS:
        try:
            if name in _ADDRESSES:
                ipaddress.ip_address(value)
                return
            if "/" in value or name in ("ipv4Address", "ipv6Address", "ipNetworks"):
                ipaddress.ip_interface(value)
                return
        except ValueError as error:
            what = "IP address" if name in _ADDRESSES else "CIDR address"
            raise strict.StrictError(f"invalid {what}: {value}") from error
        raise strict.StrictError(f"invalid CIDR address: {value}")
