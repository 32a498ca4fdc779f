"""What a consumer of a syncer receives."""

from __future__ import annotations

from enum import Enum

import msgspec

from pycalico.api.meta import Key, Resource


class SyncStatus(Enum):
    """IN_SYNC means: everything that existed at the start has been delivered. It is sent once, never withdrawn."""

    WAIT_FOR_DATASTORE = "wait-for-ready"
    RESYNC = "resync"
    IN_SYNC = "in-sync"


class Update(msgspec.Struct, frozen=True):
    """One key's present state; ``value`` None means that the object is gone."""

    key: Key
    value: Resource | None
