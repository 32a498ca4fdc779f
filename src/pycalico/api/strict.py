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

from pycalico.api import gotypes, goyaml
from pycalico.base import decimals, duration, rfc3339

T = TypeVar("T")

_PORTS = frozenset(("ports", "notPorts", "kubeNodePortRanges", "natPortRange", "bpfPSNATPorts"))
_PROTOCOLS = frozenset(("protocol", "notProtocol"))
_RANGE = re.compile(r"(\d+):(\d+)")
_PORT_NAME = re.compile(r"[a-zA-Z0-9_.-]{1,128}")


class ManagedFieldsEntry(msgspec.Struct, rename="camel"):
    """Who set which fields, as an API server notes it."""

    manager: str = ""
    operation: str = ""
    api_version: str = ""
    time: str | None = None
    fields_type: str = ""
    fields_v1: Any = msgspec.field(default=None, name="fieldsV1")
    subresource: str = ""


#: Metadata that an object may bring along and that nothing here keeps.
_PASSED_OVER: dict[str, dict[str, Any]] = {
    "ObjectMeta": {"selfLink": str, "managedFields": list[ManagedFieldsEntry] | None}
}


class StrictError(ValueError):
    """The value does not fit; the message says which and where."""


def decode(
    value: Any,
    kind: type[T],
    *,
    renamed: typing.Mapping[str, str] | None = None,
    unknown: list[str] | None = None,
) -> T:
    """``value`` as a ``kind`` (a msgspec struct). ``renamed`` maps our struct names to upstream's for messages.

    Raises StrictError for the first field, by name, that does not fit, else for all that are unknown; where
    ``unknown`` is given, those are added to it for ``refuse``.
    """
    decoder = _Decoder(renamed or {})
    found = decoder.struct(value, kind, "")
    if unknown is None:
        refuse(decoder.unknown)
    else:
        unknown += decoder.unknown
    return typing.cast("T", found)


def refuse(unknown: list[str]) -> None:
    """Raises StrictError when there are fields that nothing has."""
    if unknown:
        several = len(unknown) > 1
        what = "fields in document are" if several else "field in document is"
        where = "are in the wrong location" if several else "is in the wrong location"
        raise StrictError(f"{what} not recognized or {where}: {', '.join(unknown)}")


class _Decoder:
    def __init__(self, renamed: typing.Mapping[str, str]) -> None:
        self._renamed = renamed
        self.unknown: list[str] = []

    def struct(self, value: Any, kind: type, where: str, name: str = "") -> Any:
        """``name`` is upstream's for the struct."""
        name = name or self._name(kind, "", "")
        if value is None:
            return kind()
        if not isinstance(value, dict):
            raise _misfit(value, where, _qualified(name))
        known = {field.encode_name: field for field in msgspec.structs.fields(kind)}
        folded = {wire.lower(): wire for wire in known}
        found: dict[str, Any] = {}
        passed = _PASSED_OVER.get(name, {})
        for given in sorted(value):
            if given in passed:
                self.field(value[given], passed[given], name, given)
                continue
            wire = given if given in known else folded.get(given.lower(), "")
            if wire != given and (not wire or wire in value):
                self.unknown.append(given)
            elif value[given] is not None:
                found[known[wire].name] = self.field(value[given], known[wire].type, name, wire)
        return kind(**found)

    def field(self, value: Any, annotation: Any, struct: str, wire: str) -> Any:
        """The field ``wire`` of upstream's ``struct``; an item of it where it is a list or a map."""
        where = f"field {struct}.{wire}"
        origin = typing.get_origin(annotation)
        if origin in (typing.Union, types.UnionType):
            options = [option for option in typing.get_args(annotation) if option is not type(None)]
            if set(options) == {int, str}:
                return _number_or_text(value, wire)
            return self.field(value, options[0], struct, wire)
        if origin is list:
            item = typing.get_args(annotation)[0]
            if not isinstance(value, list):
                whole_type = gotypes.LISTS.get(wire) or f"[]{self._go_type(item, struct, wire)}"
                raise _misfit(value, where, whole_type)
            return [self.field(each, item, struct, wire) for each in value]
        if origin is dict:
            if not isinstance(value, dict):
                raise _misfit(value, where, "map[string]string")
            item = typing.get_args(annotation)[1]
            return {key: self.field(each, item, struct, wire) for key, each in value.items()}
        if isinstance(annotation, type) and issubclass(annotation, msgspec.Struct):
            return self.struct(value, annotation, where, self._name(annotation, struct, wire))
        return self.scalar(value, annotation, struct, wire)

    def scalar(self, value: Any, annotation: Any, struct: str, wire: str) -> Any:
        where = f"field {struct}.{wire}"
        if annotation is str:
            return self._text(value, struct, wire)
        if annotation is bool:
            if not isinstance(value, bool):
                raise _misfit(value, where, "bool")
            return value
        if annotation is float:
            if isinstance(value, bool) or not isinstance(value, (int, float)):
                raise _misfit(value, where, "float64")
            return float(value)
        if annotation is int:
            type_name, least, most = gotypes.SIZED.get(wire, gotypes.INT)
            number = _whole(value)
            if number is None or not least <= number <= most:
                raise _misfit(value, where, type_name)
            return number
        return value

    def _text(self, value: Any, struct: str, wire: str) -> str:
        if wire in gotypes.DURATIONS:
            return duration.normalised(_only_text(value))
        if wire in gotypes.TIMES and struct in gotypes.KUBERNETES:
            rfc3339.check(_only_text(value))
        exact = not gotypes.EXACT.isdisjoint((struct, f"{struct}.{wire}"))
        if isinstance(value, (dict, list)) or (exact and value is not None and not isinstance(value, str)):
            raise _misfit(value, f"field {struct}.{wire}", self._go_type(str, struct, wire))
        return "" if value is None else goyaml.text_of(value)

    def _name(self, kind: type, struct: str, wire: str) -> str:
        name = gotypes.named(struct, wire, gotypes.STRUCTS)
        return name or self._renamed.get(kind.__name__, kind.__name__)

    def _go_type(self, annotation: Any, struct: str, wire: str) -> str:
        if annotation is str:
            return gotypes.named(struct, wire, gotypes.NAMED) or "string"
        if typing.get_origin(annotation) in (typing.Union, types.UnionType):
            return "numorstring.Port" if wire in _PORTS else "numorstring.Protocol"
        if isinstance(annotation, type) and issubclass(annotation, msgspec.Struct):
            return _qualified(self._name(annotation, struct, wire))
        return gotypes.SIZED.get(wire, gotypes.INT)[0]


def _qualified(struct: str) -> str:
    """With upstream's package: metadata is Kubernetes' own."""
    package = "v1" if struct in gotypes.KUBERNETES else gotypes.PACKAGES.get(struct, "v3")
    return f"{package}.{struct}"


def _whole(value: Any) -> int | None:
    """An integer, whichever way it is written: ``26``, ``26.0``, ``2.6e1``."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return int(value) if value == int(value) else None


def _misfit(value: Any, where: str, go_type: str) -> StrictError:
    return StrictError(f"cannot parse {_shape(value)} into {where or 'value'} of type {go_type}")


def _shape(value: Any) -> str:
    """``string 'yes'``, ``number '7'``, ``object '{"a":1}'``."""
    if isinstance(value, str):
        return f"string '{value}'"
    if isinstance(value, bool):
        return f"bool '{goyaml.text_of(value)}'"
    if isinstance(value, (int, float)):
        return f"number '{_number(value)}'"
    kind = "object" if isinstance(value, dict) else "array"
    return f"{kind} '{msgspec.json.encode(value, order='sorted').decode()}'"


def _number(value: float) -> str:
    return decimals.plain(value) if isinstance(value, float) else str(value)


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


def _only_text(value: Any) -> str:
    if not isinstance(value, str):
        raise StrictError(f"json: cannot unmarshal {json_kind(value)} into Go value of type string")
    return value


def _protocol(value: Any) -> int | str:
    """A number that is written as text becomes one."""
    if not isinstance(value, str):
        return _unsigned(value, 255, "uint8")
    return int(value) if value.isascii() and value.isdigit() and int(value) < 256 else value


def as_number(value: Any) -> int:
    """A 32-bit AS number from a number or ``"hi.lo"``. Raises StrictError."""
    if isinstance(value, str):
        parts = value.split(".")
        if len(parts) == 1 and value.isdigit() and int(value) < 2**32:
            return int(value)
        if len(parts) == 2 and all(part.isdigit() and int(part) < 2**16 for part in parts):
            return (int(parts[0]) << 16) + int(parts[1])
        raise StrictError(f"invalid AS Number format ({value})")
    number = _whole(value)
    if number is not None and 0 <= number < 2**32:
        return number
    raise StrictError(f"json: cannot unmarshal {json_kind(value)} into Go value of type string")


def _unsigned(value: Any, most: int, go_type: str) -> int:
    number = _whole(value)
    if number is not None and 0 <= number <= most:
        return number
    shown = json_kind(value)
    if shown == "number":
        shown += f" {_number(value)}"
    raise StrictError(f"json: cannot unmarshal {shown} into Go value of type {go_type}")


def json_kind(value: Any) -> str:
    """The type of a value as Go's JSON decoder calls it."""
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, (int, float)):
        return "number"
    if isinstance(value, dict):
        return "object"
    return "array" if isinstance(value, list) else "string"
