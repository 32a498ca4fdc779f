"""The conflist's entry as Go's decoder takes it: names in any case, null as absent, and its words for what does not fit.

Upstream's plugins decode into structs; an option of another type is an error of the whole call, with a message that
operators know (observed with v3.28.1).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import msgspec

Shape = Mapping[str, Any]
"""Name to type: ``string``, ``int``, ``uint64``, ``bool``, ``map``, a list of one of those, or a shape of its own."""

_LABEL: Shape = {"key": "string", "value": "string"}
_LABELS: Shape = {"labels": [_LABEL]}
_STRINGS = ["string"]

NETCONF: Shape = {
    **dict.fromkeys(
        ("cniVersion", "name", "type", "mode", "vxlan_mac_prefix", "nodename", "nodename_file", "ipam_lock_file",
         "datastore_type", "etcd_endpoints", "etcd_discovery_srv", "etcd_scheme", "etcd_key_file", "etcd_cert_file",
         "etcd_ca_cert_file", "etcd_authority", "hostname", "log_level", "log_file_path", "endpoint_status_dir"),
        "string",
    ),
    **dict.fromkeys(
        ("mtu", "num_queues", "log_file_max_size", "log_file_max_age", "log_file_max_count",
         "windows_pod_deletion_timestamp_timeout", "policy_setup_timeout_seconds"),
        "int",
    ),
    **dict.fromkeys(
        ("nodename_file_optional", "include_default_routes", "windows_use_single_network",
         "windows_disable_default_deny_all_policy", "windows_loopback_DSR"),
        "bool",
    ),
    "vxlan_vni": "uint64",
    "dataplane_options": "map",
    "readiness_gates": _STRINGS,
    "ipam": {
        **dict.fromkeys(("Name", "type", "subnet", "assign_ipv4", "assign_ipv6"), "string"),
        "ipv4_pools": _STRINGS,
        "ipv6_pools": _STRINGS,
    },
    "args": {"org.apache.mesos": {"network_info": {"name": "string", "labels": _LABELS}}},
    "policy": dict.fromkeys(
        ("type", "k8s_api_root", "k8s_auth_token", "k8s_client_certificate", "k8s_client_key",
         "k8s_certificate_authority"),
        "string",
    ),
    "kubernetes": dict.fromkeys(("k8s_api_root", "kubeconfig", "node_name"), "string"),
    "feature_control": dict.fromkeys(("ip_addrs_no_ipam", "floating_ips"), "bool"),
    "container_settings": {"allow_ip_forwarding": "bool"},
    "RuntimeConfig": {
        "DNS": {"servers": _STRINGS, "domain": "string", "searches": _STRINGS, "options": _STRINGS}
    },
}  # fmt: skip
_IPAM_TYPE = (
    'struct { Name string; Type string "json:\\"type\\""; Subnet string "json:\\"subnet\\""; '
    'AssignIpv4 *string "json:\\"assign_ipv4\\""; AssignIpv6 *string "json:\\"assign_ipv6\\""; '
    'IPv4Pools []string "json:\\"ipv4_pools,omitempty\\""; IPv6Pools []string "json:\\"ipv6_pools,omitempty\\"" }'
)
#: Structs that have a name, which messages give; the others are anonymous.
_STRUCTS = {
    "": "NetConf", "policy": "Policy", "kubernetes": "Kubernetes", "feature_control": "FeatureControl",
    "container_settings": "ContainerSettings", "args": "Args", "args.org.apache.mesos": "Mesos",
    "args.org.apache.mesos.network_info": "NetworkInfo", "RuntimeConfig": "RuntimeConfig",
    "RuntimeConfig.DNS": "RuntimeConfigDNS",
}  # fmt: skip
_FITS = {"string": str, "int": int, "uint64": int, "bool": bool, "map": dict}
_GO_TYPES = {"map": "map[string]interface {}"}
_RANGES = {"int": (-(2**63), 2**63 - 1), "uint64": (0, 2**64 - 1)}


class Misfit(ValueError):
    """A value of another type than the option has; the message is Go's."""


def parsed(data: bytes) -> Any:
    """Any JSON. Raises Misfit with Go's words, which take a text byte by byte."""
    try:
        return msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        from pycalico.base import jsonerror  # noqa: PLC0415 - texts that parse do without

        raise Misfit(jsonerror.flaw(data.decode("latin-1")) or str(error)) from error


def string_of(value: Any, name: str) -> str:
    """One option alone, of a struct without a name; empty when it is not there. Raises Misfit."""
    try:
        return str(folded({} if value is None else value, {name: "string"}).get(name, ""))
    except Misfit as error:
        struct = f'struct {{ {name[0].upper()}{name[1:]} string "json:\\"{name}\\"" }}'
        raise Misfit(str(error).replace("types.NetConf", struct).replace("NetConf.", ".")) from error


def folded(value: Any, shape: Shape = NETCONF, path: str = "") -> dict[str, Any]:
    """A copy in which every option has its own name and nothing is null. Unknown ones stay. Raises Misfit."""
    if not isinstance(value, dict):
        raise Misfit(f"json: cannot unmarshal {_kind(value)} into Go value of type types.NetConf")
    found: dict[str, Any] = {}
    for key, given in value.items():
        name = key if key in shape else next((name for name in shape if name.lower() == key.lower()), "")
        if given is None:
            continue
        found[name or key] = _taken(given, shape[name], path, name) if name else given
    return found


def strings(text: str) -> list[str]:
    """A JSON list of strings. Raises Misfit, also for what is no JSON."""
    value = parsed(text.encode())
    return [] if value is None else cast("list[str]", _taken(value, _STRINGS, "", ""))


def _taken(value: Any, wanted: Any, path: str, name: str) -> Any:
    here = f"{path}.{name}" if path else name
    if isinstance(wanted, list):
        if not isinstance(value, list):
            raise _misfit(value, wanted, path, here)
        return [_item(item, wanted[0], path, name) for item in value]
    if isinstance(wanted, Mapping):
        if not isinstance(value, dict):
            raise _misfit(value, wanted, path, here)
        return folded(value, wanted, here)
    fits = isinstance(value, _FITS[wanted]) and (wanted == "bool" or not isinstance(value, bool))
    if fits and wanted in _RANGES:
        least, most = _RANGES[wanted]
        fits = least <= value <= most
    if not fits:
        raise _misfit(value, wanted, path, here)
    return value


def _item(value: Any, wanted: Any, path: str, name: str) -> Any:
    if value is None:
        return "" if wanted == "string" else {}
    return _taken(value, wanted, path, name)


def _misfit(value: Any, wanted: Any, path: str, here: str) -> Misfit:
    shown = _kind(value)
    if shown == "number" and wanted in _RANGES:
        shown = f"number {value}"
    place = f"struct field {_STRUCTS.get(path, '')}.{here}" if here else "value"
    return Misfit(f"json: cannot unmarshal {shown} into Go {place} of type {_go_type(wanted, here)}")


def _go_type(wanted: Any, here: str) -> str:
    if isinstance(wanted, list):
        return "[]" + _go_type(wanted[0], "")
    if isinstance(wanted, str):
        return _GO_TYPES.get(wanted, wanted)
    return f"types.{_STRUCTS[here]}" if here in _STRUCTS else _IPAM_TYPE


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, (int, float)):
        return "number"
    if isinstance(value, str):
        return "string"
    return "array" if isinstance(value, list) else "object"
