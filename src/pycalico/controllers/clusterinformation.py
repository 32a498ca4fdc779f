"""ClusterInformation ``default``: made, or completed, by whichever program comes first."""

from __future__ import annotations

import time
import uuid

import msgspec

from pycalico.api.meta import ObjectMeta
from pycalico.api.v3.clusterinformation import ClusterInformation
from pycalico.datastore.client import Client
from pycalico.datastore.errors import AlreadyExists, Conflict, NotFound, Unavailable

NAME = "default"
_TRIES = 5
_RETRY_S = 1.0


def ensure_initialized(client: Client, *, kdd: bool) -> None:
    """A lost race is run again; ``datastoreReady: false`` is respected. Raises DatastoreError."""
    wanted = ["k8s", "kdd"] if kdd else ["k8s"]
    for attempt in range(_TRIES):
        if attempt:
            time.sleep(_RETRY_S)
        try:
            found = client.get(ClusterInformation, NAME)
        except NotFound:
            found = ClusterInformation(metadata=ObjectMeta(name=NAME))
        before = msgspec.structs.replace(found.spec)
        words = [word for word in found.spec.cluster_type.split(",") if word]
        found.spec.cluster_type = ",".join(dict.fromkeys([*words, *wanted]))
        found.spec.cluster_guid = found.spec.cluster_guid or uuid.uuid4().hex
        if found.spec.datastore_ready is None:
            found.spec.datastore_ready = True
        try:
            if not found.metadata.resource_version:
                client.create(found)
            elif found.spec != before:
                client.update(found)
        except (AlreadyExists, Conflict, NotFound):
            continue
        return
    raise Unavailable("ClusterInformation default is being changed by others all the time")
