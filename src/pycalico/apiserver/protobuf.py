r"""Request bodies in protobuf, for the kinds that client-go programs write in it.

client-go with ``ContentType: application/vnd.kubernetes.protobuf`` (Calico's own programs set it) sends
built-in kinds as ``k8s\0`` + an Unknown envelope. Decoded here: nodes (status updates of calico-node and
calicoctl), token requests, delete options and the small core kinds; others are refused with 415, which
client-go reports as it is. Answers are always JSON, which such clients accept.

Field numbers are those of the generated.proto files of k8s.io/api and k8s.io/apimachinery.
"""

from __future__ import annotations

import base64
import datetime as dt
from collections.abc import Iterator
from typing import Any, Final

from pycalico.apiserver import errors

Obj = dict[str, Any]
CONTENT_TYPE: Final = "application/vnd.kubernetes.protobuf"
_MAGIC: Final = b"k8s\x00"
_DEPTH: Final = 20

# A field is "number name type": s string, i integer, b boolean, m map to strings, d map to bytes, q map to
# quantities, t time, u time with microseconds, or the name of a message. Suffix * repeated; suffix ! a
# pointer in Go, whose zero is a value (others at zero are what JSON would leave out).
_MESSAGES: Final = {
    "ObjectMeta": "1 name s, 2 generateName s, 3 namespace s, 5 uid s, 6 resourceVersion s, 7 generation i, "
    "8 creationTimestamp t, 9 deletionTimestamp t, 10 deletionGracePeriodSeconds i!, 11 labels m, "
    "12 annotations m, 13 ownerReferences OwnerReference*, 14 finalizers s*",
    "OwnerReference": "5 apiVersion s, 1 kind s, 3 name s, 4 uid s, 6 controller b!, 7 blockOwnerDeletion b!",
    "DeleteOptions": "1 gracePeriodSeconds i!, 2 preconditions Preconditions, 3 orphanDependents b!, "
    "4 propagationPolicy s!, 5 dryRun s*",
    "Preconditions": "1 uid s!, 2 resourceVersion s!",
    "Node": "1 metadata ObjectMeta, 2 spec NodeSpec, 3 status NodeStatus",
    "NodeSpec": "1 podCIDR s, 7 podCIDRs s*, 3 providerID s, 4 unschedulable b, 5 taints Taint*",
    "Taint": "1 key s, 2 value s, 3 effect s, 4 timeAdded t",
    "NodeStatus": "1 capacity q, 2 allocatable q, 3 phase s, 4 conditions NodeCondition*, "
    "5 addresses NodeAddress*, 6 daemonEndpoints NodeDaemonEndpoints, 7 nodeInfo NodeSystemInfo, "
    "8 images ContainerImage*, 9 volumesInUse s*, 10 volumesAttached AttachedVolume*",
    "NodeCondition": "1 type s, 2 status s, 3 lastHeartbeatTime t, 4 lastTransitionTime t, 5 reason s, "
    "6 message s",
    "NodeAddress": "1 type s!, 2 address s!",
    "NodeDaemonEndpoints": "1 kubeletEndpoint DaemonEndpoint",
    "DaemonEndpoint": "1 Port i!",
    "NodeSystemInfo": "1 machineID s!, 2 systemUUID s!, 3 bootID s!, 4 kernelVersion s!, 5 osImage s!, "
    "6 containerRuntimeVersion s!, 7 kubeletVersion s!, 8 kubeProxyVersion s!, 9 operatingSystem s!, "
    "10 architecture s!",
    "ContainerImage": "1 names s*, 2 sizeBytes i",
    "AttachedVolume": "1 name s!, 2 devicePath s!",
    "ConfigMap": "1 metadata ObjectMeta, 4 immutable b!, 2 data m, 3 binaryData d",
    "Secret": "1 metadata ObjectMeta, 5 immutable b!, 2 data d, 4 stringData m, 3 type s",
    "Namespace": "1 metadata ObjectMeta, 2 spec NamespaceSpec, 3 status NamespaceStatus",
    "NamespaceSpec": "1 finalizers s*",
    "NamespaceStatus": "1 phase s",
    "ServiceAccount": "1 metadata ObjectMeta, 2 secrets ObjectReference*, "
    "3 imagePullSecrets LocalObjectReference*, 4 automountServiceAccountToken b!",
    "ObjectReference": "1 kind s, 2 namespace s, 3 name s, 4 uid s, 5 apiVersion s, 6 resourceVersion s, "
    "7 fieldPath s",
    "LocalObjectReference": "1 name s",
    "Event": "1 metadata ObjectMeta, 2 involvedObject ObjectReference, 3 reason s, 4 message s, "
    "5 source EventSource, 6 firstTimestamp t, 7 lastTimestamp t, 8 count i, 9 type s, 10 eventTime u, "
    "11 series EventSeries, 12 action s, 13 related ObjectReference, 14 reportingComponent s!, "
    "15 reportingInstance s!",
    "EventSource": "1 component s, 2 host s",
    "EventSeries": "1 count i, 2 lastObservedTime u",
    "Binding": "1 metadata ObjectMeta, 2 target ObjectReference",
    "TokenRequest": "1 metadata ObjectMeta, 2 spec TokenRequestSpec",
    "TokenRequestSpec": "1 audiences s*, 4 expirationSeconds i!, 3 boundObjectRef BoundObjectReference",
    "BoundObjectReference": "1 kind s, 2 apiVersion s, 3 name s, 4 uid s",
    "Lease": "1 metadata ObjectMeta, 2 spec LeaseSpec",
    "LeaseSpec": "1 holderIdentity s!, 2 leaseDurationSeconds i!, 3 acquireTime u, 4 renewTime u, "
    "5 leaseTransitions i!",
    "Unknown": "1 typeMeta TypeMeta, 2 raw raw, 3 contentEncoding s, 4 contentType s",
    "TypeMeta": "1 apiVersion s, 2 kind s",
}
#: The kinds a body may hold.
KINDS: Final = frozenset({"Node", "ConfigMap", "Secret", "Namespace", "ServiceAccount", "Event", "Binding",
                          "TokenRequest", "Lease", "DeleteOptions"})  # fmt: skip


def _table(text: str) -> dict[int, tuple[str, str, bool, bool]]:
    rows = {}
    for field in text.split(", "):
        number, name, kind = field.split(" ")
        rows[int(number)] = (name, kind.rstrip("*!"), kind.endswith("*"), kind.endswith("!"))
    return rows


_TABLES: Final = {name: _table(text) for name, text in _MESSAGES.items()}


def decode(body: bytes) -> Obj:
    """Decode a request body to the object its JSON would give.

    Raises:
        errors.StatusError: 400, not such a body; 415, a kind that is not decoded here.
    """
    if not body.startswith(_MAGIC):
        raise errors.bad_request("the body does not start as Kubernetes' protobuf encoding does")
    try:
        envelope = _message(memoryview(body)[4:], "Unknown", 0)
        about = envelope.get("typeMeta", {})
        kind = about.get("kind", "")
        if kind not in KINDS:
            raise errors.unsupported_media_type(f"{CONTENT_TYPE} of {kind}", "application/json")
        obj = _message(memoryview(envelope.get("raw", b"")), kind, 0)
    except (ValueError, IndexError, OverflowError, UnicodeDecodeError):
        raise errors.bad_request("the body is not valid protobuf") from None
    return {"apiVersion": about.get("apiVersion", ""), "kind": kind, **obj}


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
        if shift > 63:
            raise ValueError


def _fields(data: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        match tag & 7:
            case 0:
                number, at = _varint(data, at)
                yield tag >> 3, number
                continue
            case 2:
                size, at = _varint(data, at)
            case 1:
                size = 8
            case 5:
                size = 4
            case _:
                raise ValueError
        if at + size > len(data):
            raise ValueError
        yield tag >> 3, data[at : at + size]
        at += size


def _signed(number: int) -> int:
    return number - (1 << 64) if number >= 1 << 63 else number


def _message(data: memoryview, name: str, depth: int) -> Obj:
    if depth > _DEPTH:
        raise ValueError
    table = _TABLES[name]
    result: Obj = {}
    for number, raw in _fields(data):
        row = table.get(number)
        if row is None:
            continue
        field, kind, repeated, pointer = row
        if kind in ("m", "d", "q"):
            key, value = _pair(raw, kind)
            result.setdefault(field, {})[key] = value
            continue
        value = _value(raw, kind, depth)
        if repeated:
            result.setdefault(field, []).append(value)
        elif pointer or value:
            result[field] = value
    return result


def _value(raw: int | memoryview, kind: str, depth: int) -> Any:
    if isinstance(raw, int):
        if kind not in ("i", "b"):
            raise ValueError
        return bool(raw) if kind == "b" else _signed(raw)
    match kind:
        case "s":
            return bytes(raw).decode()
        case "raw":
            return bytes(raw)
        case "t" | "u":
            return _time(raw, micro=kind == "u")
        case "i" | "b":
            raise ValueError
    return _message(raw, kind, depth + 1)


def _pair(raw: int | memoryview, kind: str) -> tuple[str, str]:
    if isinstance(raw, int):
        raise ValueError  # noqa: TRY004 (all malformed input is one error)
    parts = dict(_fields(raw))
    key, value = parts.get(1, memoryview(b"")), parts.get(2, memoryview(b""))
    if isinstance(key, int) or isinstance(value, int):
        raise ValueError  # noqa: TRY004
    if kind == "q":
        text = dict(_fields(value)).get(1, memoryview(b""))
        if isinstance(text, int):
            raise ValueError
        return bytes(key).decode(), bytes(text).decode()
    if kind == "d":
        return bytes(key).decode(), base64.b64encode(value).decode()
    return bytes(key).decode(), bytes(value).decode()


def _time(raw: memoryview, *, micro: bool) -> str | None:
    parts = dict(_fields(raw))
    seconds, nanos = parts.get(1, 0), parts.get(2, 0)
    if not isinstance(seconds, int) or not isinstance(nanos, int) or not seconds:
        return None
    moment = dt.datetime.fromtimestamp(_signed(seconds), dt.UTC)
    text = moment.strftime("%Y-%m-%dT%H:%M:%S")
    return f"{text}.{nanos // 1000:06d}Z" if micro else f"{text}Z"
