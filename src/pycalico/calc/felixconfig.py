"""FelixConfiguration as Felix parameters: names and values as strings, the form all sources share.

A parameter is named like the field with a capital letter (names are compared without case), but for those in
``_NAMES``. Durations become seconds, or milliseconds for ``*Millis``; lists are joined by commas.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from pycalico.api.v3.clusterinformation import ClusterInformation
from pycalico.api.v3.felixconfiguration import FelixConfiguration, ProtoPort, RouteTableRange

_NAMES = {
    "iptablesPostWriteCheckInterval": "IptablesPostWriteCheckIntervalSecs",
    "iptablesLockTimeout": "IptablesLockTimeoutSecs",
    "iptablesLockProbeInterval": "IptablesLockProbeIntervalMillis",
    "netlinkTimeout": "NetlinkTimeoutSecs",
    "ipipEnabled": "IpInIpEnabled",
    "ipipMTU": "IpInIpMtu",
    "reportingInterval": "ReportingIntervalSecs",
    "reportingTTL": "ReportingTTLSecs",
    "endpointReportingDelay": "EndpointReportingDelaySecs",
    "usageReportingInitialDelay": "UsageReportingInitialDelaySecs",
    "usageReportingInterval": "UsageReportingIntervalSecs",
    "externalNodesList": "ExternalNodesCIDRList",
    "wireguardKeepAlive": "WireguardPersistentKeepAlive",
}
_ANNOTATION = "config.projectcalico.org/"
_DURATION = re.compile(r"([0-9]*\.?[0-9]+)(ns|us|µs|ms|s|m|h)")
_UNITS_S = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


def seconds(duration: str) -> float:
    """Seconds of a Go duration (``1m30s``). Raises ValueError."""
    text = duration.strip().removeprefix("+")
    sign = -1.0 if text.startswith("-") else 1.0
    text = text.removeprefix("-")
    if text == "0":
        return 0.0
    parts = _DURATION.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise ValueError(f"invalid duration {duration!r}")
    return sign * sum(float(number) * _UNITS_S[unit] for number, unit in parts)


def parameters(resource: FelixConfiguration) -> dict[str, str]:
    """What one FelixConfiguration sets. A value that cannot be rendered is left out."""
    found: dict[str, str] = {}
    for field in msgspec.structs.fields(resource.spec):
        value = getattr(resource.spec, field.name)
        if value is None or value == "":
            continue
        wire = field.encode_name
        name = _NAMES.get(wire, wire[0].upper() + wire[1:])
        try:
            found[name] = _text(value, name, wire)
        except ValueError:
            continue
    for key, value in resource.metadata.annotations.items():
        if key.startswith(_ANNOTATION):
            found[key.removeprefix(_ANNOTATION)] = value
    return found


def cluster_parameters(resource: ClusterInformation) -> dict[str, str]:
    spec = resource.spec
    values = {
        "ClusterGUID": spec.cluster_guid,
        "ClusterType": spec.cluster_type,
        "CalicoVersion": spec.calico_version,
    }
    return {name: value for name, value in values.items() if value}


def _text(value: Any, name: str, wire: str) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str) and _is_duration(wire):
        amount = seconds(value)
        return f"{amount * 1000:g}" if name.endswith("Millis") else f"{amount:g}"
    if isinstance(value, list):
        # An empty list of ports means "none at all", which is not the same as "not set".
        return ",".join(_item(item) for item in value) or "none"
    if isinstance(value, dict):
        return ",".join(f"{key}={item}" for key, item in sorted(value.items()))
    if isinstance(value, RouteTableRange):
        return f"{value.min}-{value.max}"
    return str(value)


def _is_duration(wire: str) -> bool:
    lower = wire.lower()
    return (
        lower.endswith(("interval", "timeout", "delay", "keepalive", "hangafter", "applydelay", "ttl"))
        or wire == "bpfKubeProxyMinSyncPeriod"
    )


def _item(item: Any) -> str:
    if isinstance(item, ProtoPort):
        net = f"[{item.net}]" if ":" in item.net else item.net
        return ":".join(part for part in (item.protocol.lower(), net, str(item.port)) if part)
    if isinstance(item, RouteTableRange):
        return f"{item.min}-{item.max}"
    if isinstance(item, msgspec.Struct):
        return "=".join(str(getattr(item, field)) for field in item.__struct_fields__)
    return str(item)
