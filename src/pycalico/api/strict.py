"""Plain values to resources, refusing what the resource does not have. Messages are upstream's (observed).

Field types with a decoder of their own upstream - ports, AS numbers, protocols, durations - are normalised
here, so that what is stored looks the same whoever wrote it.
"""

from __future__ import annotations

import re
import types
import typing
from typing import Any, TypeVar

import msgspec

from pycalico.api import goyaml
from pycalico.base import duration

T = TypeVar("T")

#: Wire names of the fields that hold a duration, wherever they appear.
DURATIONS = frozenset(
    [
        "bpfKubeProxyMinSyncPeriod",
        "dataplaneWatchdogTimeout",
        "debugSimulateCalcGraphHangAfter",
        "debugSimulateDataplaneApplyDelay",
        "debugSimulateDataplaneHangAfter",
        "endpointReportingDelay",
        "etcdV3CompactionPeriod",
        "interfaceRefreshInterval",
        "ipsetsRefreshInterval",
        "iptablesLockProbeInterval",
        "iptablesLockTimeout",
        "iptablesPostWriteCheckInterval",
        "iptablesRefreshInterval",
        "leakGracePeriod",
        "maxRestartTime",
        "netlinkTimeout",
        "nodeMeshMaxRestartTime",
        "reconcilerPeriod",
        "reportingInterval",
        "reportingTTL",
        "routeRefreshInterval",
        "timeout",
        "usageReportingInitialDelay",
        "usageReportingInterval",
        "wireguardKeepAlive",
        "xdpRefreshInterval",
    ]
)
_PORTS = frozenset(("ports", "notPorts", "kubeNodePortRanges", "natPortRange", "bpfPSNATPorts"))
_PROTOCOLS = frozenset(("protocol", "notProtocol"))
#: Integers that are not Go's ``int``: name of the type, least and most value.
_SIZED = {
    "listenPort": ("uint16", 0, 65535), "port": ("uint16", 0, 65535), "hostPort": ("uint16", 0, 65535),
    "ttlSecurity": ("uint8", 0, 255), "numAllowedLocalASNumbers": ("int32", -(2**31), 2**31 - 1),
    "iptablesMarkMask": ("uint32", 0, 2**32 - 1), "nftablesMarkMask": ("uint32", 0, 2**32 - 1),
    "updatePeriodSeconds": ("uint32", 0, 2**32 - 1),
    "debugProfilePort": ("int32", -(2**31), 2**31 - 1), "maxBlocksPerHost": ("int32", -(2**31), 2**31 - 1),
    "deletionGracePeriodSeconds": ("int64", -(2**63), 2**63 - 1), "generation": ("int64", -(2**63), 2**63 - 1),
}  # fmt: skip
_INT = ("int", -(2**63), 2**63 - 1)
_RANGE = re.compile(r"(\d+):(\d+)")
_PORT_NAME = re.compile(r"[a-zA-Z0-9_.-]{1,128}")
#: Metadata that an object may bring along and that nothing here keeps.
_IGNORED = {"ObjectMeta": frozenset(("selfLink", "managedFields", "clusterName"))}


#: Texts that are a type of their own upstream, which messages name.
_NAMED = {
    "types": "v3.PolicyType",
    "allowedUses": "v3.IPPoolAllowedUse",
    "ipipMode": "v3.IPIPMode",
    "vxlanMode": "v3.VXLANMode",
    "action": "v3.Action",
}
_KUBERNETES = frozenset(("ObjectMeta", "OwnerReference"))


class StrictError(ValueError):
    """The value does not fit; the message says which and where."""


def decode(value: Any, kind: type[T], *, renamed: typing.Mapping[str, str] | None = None) -> T:
    """``value`` as a ``kind`` (a msgspec struct). ``renamed`` maps our struct names to upstream's for messages.

    Raises StrictError for the first field, by name, that is unknown or does not fit.
    """
    return typing.cast("T", _Decoder(renamed or {}).struct(value, kind, ""))


class _Decoder:
    def __init__(self, renamed: typing.Mapping[str, str]) -> None:
        self._renamed = renamed

    def struct(self, value: Any, kind: type, where: str) -> Any:
        if value is None:
            return kind()
        if not isinstance(value, dict):
            raise _misfit(value, where, self._qualified(kind))
        known = {field.encode_name: field for field in msgspec.structs.fields(kind)}
        folded = {name.lower(): field for name, field in known.items()}
        found: dict[str, Any] = {}
        for name in sorted(value):
            field = known.get(name) or folded.get(name.lower())
            if field is None:
                if name in _IGNORED.get(kind.__name__, ()):
                    continue
                raise StrictError(f"field in document is not recognized or is in the wrong location: {name}")
            if value[name] is None:
                continue
            where = f"field {self._name(kind)}.{field.encode_name}"
            found[field.name] = self.field(value[name], field.type, field.encode_name, where)
        return kind(**found)

    def field(self, value: Any, annotation: Any, name: str, where: str) -> Any:
        origin = typing.get_origin(annotation)
        if origin in (typing.Union, types.UnionType):
            options = [option for option in typing.get_args(annotation) if option is not type(None)]
            if set(options) == {int, str}:
                return _number_or_text(value, name)
            return self.field(value, options[0], name, where)
        if origin is list:
            if not isinstance(value, list):
                raise _misfit(value, where, f"[]{self._go_type(typing.get_args(annotation)[0], name)}")
            item = typing.get_args(annotation)[0]
            return [self.field(each, item, name, where) for each in value]
        if origin is dict:
            if not isinstance(value, dict):
                raise _misfit(value, where, "map[string]string")
            item = typing.get_args(annotation)[1]
            return {key: self.field(each, item, name, where) for key, each in value.items()}
        if isinstance(annotation, type) and issubclass(annotation, msgspec.Struct):
            return self.struct(value, annotation, where)
        return self.scalar(value, annotation, name, where)

    def scalar(self, value: Any, annotation: Any, name: str, where: str) -> Any:
        if annotation is str:
            if isinstance(value, (dict, list)):
                raise _misfit(value, where, _NAMED.get(name, "string"))
            if name in DURATIONS:
                return _duration(value)
            return "" if value is None else goyaml.text_of(value)
        if annotation is bool:
            if not isinstance(value, bool):
                raise _misfit(value, where, "bool")
            return value
        if annotation is float:
            if isinstance(value, bool) or not isinstance(value, (int, float)):
                raise _misfit(value, where, "float64")
            return float(value)
        if annotation is int:
            type_name, least, most = _SIZED.get(name, _INT)
            if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
                raise _misfit(value, where, type_name)
            return value
        return value

    def _name(self, kind: type) -> str:
        return self._renamed.get(kind.__name__, kind.__name__)

    def _qualified(self, kind: type) -> str:
        """With upstream's package: metadata is Kubernetes' own."""
        return f"{'v1' if kind.__name__ in _KUBERNETES else 'v3'}.{self._name(kind)}"

    def _go_type(self, annotation: Any, name: str) -> str:
        if annotation is str:
            return _NAMED.get(name, "string")
        if typing.get_origin(annotation) in (typing.Union, types.UnionType):
            return "numorstring.Port" if name in _PORTS else "numorstring.Protocol"
        if isinstance(annotation, type) and issubclass(annotation, msgspec.Struct):
            return self._qualified(annotation)
        return _SIZED.get(name, _INT)[0]


def _misfit(value: Any, where: str, go_type: str) -> StrictError:
    return StrictError(f"cannot parse {_shape(value)} into {where or 'value'} of type {go_type}")


def _shape(value: Any) -> str:
    """``string 'yes'``, ``number '7'``, ``object '{"a":1}'``."""
    if isinstance(value, str):
        return f"string '{value}'"
    if isinstance(value, bool):
        return f"bool '{goyaml.text_of(value)}'"
    if isinstance(value, (int, float)):
        return f"number '{goyaml.text_of(value)}'"
    kind = "object" if isinstance(value, dict) else "array"
    return f"{kind} '{msgspec.json.encode(value, order='sorted').decode()}'"


def whole(value: Any) -> StrictError:
    """The refusal of a document that is no resource at all."""
    return StrictError(f"cannot parse {_shape(value)} into value of type []unstructured.Unstructured")


def _number_or_text(value: Any, name: str) -> int | str:
    if name in _PORTS:
        return port(value)
    if name in _PROTOCOLS:
        return _protocol(value)
    return as_number(value)


def port(value: Any) -> int | str:
    """A number, a range ``a:b`` or a name. Raises StrictError."""
    if not isinstance(value, str):
        return _unsigned(value, 65535, "uint16")
    if value.isdigit():
        if int(value) > 65535:
            raise StrictError(f"invalid port format ({value})")
        return int(value)
    if match := _RANGE.fullmatch(value):
        least, most = int(match[1]), int(match[2])
        if least > 65535 or most > 65535:
            side = "minimum" if least > 65535 else "maximum"
            raise StrictError(f"invalid {side} port number in range ({value})")
        if least > most:
            raise StrictError(
                f"minimum port number ({least}) is greater than maximum port number ({most}) in port range"
            )
        return least if least == most else f"{least}:{most}"
    if not _PORT_NAME.fullmatch(value):
        raise StrictError(f"invalid name for named port ({value})")
    return value


def _duration(value: Any) -> str:
    if not isinstance(value, str):
        raise StrictError(f"json: cannot unmarshal {_json_kind(value)} into Go value of type string")
    return duration.normalised(value)


def _protocol(value: Any) -> int | str:
    return value if isinstance(value, str) else _unsigned(value, 255, "uint8")


def as_number(value: Any) -> int:
    """A 32-bit AS number from a number or ``"hi.lo"``. Raises StrictError."""
    if isinstance(value, str):
        parts = value.split(".")
        if len(parts) == 1 and value.isdigit() and int(value) < 2**32:
            return int(value)
        if len(parts) == 2 and all(part.isdigit() and int(part) < 2**16 for part in parts):
            return (int(parts[0]) << 16) + int(parts[1])
        raise StrictError(f"invalid AS Number format ({value})")
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**32:
        return value
    raise StrictError(f"json: cannot unmarshal {_json_kind(value)} into Go value of type string")


def _unsigned(value: Any, most: int, go_type: str) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= most:
        return value
    shown = (
        f"{_json_kind(value)} {goyaml.text_of(value)}"
        if isinstance(value, (int, float))
        else _json_kind(value)
    )
    raise StrictError(f"json: cannot unmarshal {shown} into Go value of type {go_type}")


def _json_kind(value: Any) -> str:
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, (int, float)):
        return "number"
    if isinstance(value, dict):
        return "object"
    return "array" if isinstance(value, list) else "string"
