"""The machine-readable outcome of ``ipam check``, which ``ipam release`` works from.

Files are exchanged with upstream's calicoctl, so names, order and what is left out are upstream's (observed).
"""

from __future__ import annotations

import msgspec


class Allocation(msgspec.Struct, rename="camel", omit_defaults=True):
    """One allocated address. ``owners`` is null when nothing uses it."""

    ip: str = msgspec.field(default_factory=str)
    handle: str = ""
    sequence_number: int | None = None
    pod: str = ""
    namespace: str = ""
    node: str = ""
    type: str = ""
    creation_timestamp: str = ""
    in_use: bool = msgspec.field(default_factory=bool)
    borrowed: bool = False
    owners: list[str] | None = msgspec.field(default_factory=lambda: None)


class Handle(msgspec.Struct, rename={"id": "ID", "uid": "UID", "revision": "Revision"}):
    """A handle without addresses. etcd has no UIDs."""

    id: str = ""
    uid: str | None = None
    revision: str = ""


class Report(msgspec.Struct, omit_defaults=True):
    version: str = msgspec.field(default_factory=str)
    cluster_guid: str = msgspec.field(name="clusterGUID", default_factory=str)
    datastore_locked: bool = msgspec.field(name="datastoreLocked", default_factory=bool)
    revision: str = msgspec.field(name="clusterInformationRevision", default_factory=str)
    cluster_type: str = msgspec.field(name="clusterType", default_factory=str)
    #: By address.
    allocations: dict[str, list[Allocation]] = msgspec.field(default_factory=dict)
    leaked_handles: list[Handle] | None = msgspec.field(name="leakedHandles", default=None)


def decode(data: bytes) -> Report:
    """Raises ValueError with the reason in Go's words."""
    from pycalico.base import jsonerror  # noqa: PLC0415 (loaded for release alone)

    try:
        return msgspec.json.decode(data, type=Report)
    except msgspec.DecodeError as error:
        text = data.decode(errors="replace")
        if jsonerror.flaw(text) is None and text.lstrip()[:1] == "[":
            raise ValueError("json: cannot unmarshal array into Go value of type ipam.Report") from error
        raise ValueError(jsonerror.flaw(text) or str(error)) from error
