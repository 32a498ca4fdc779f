"""Whether the datastore is locked, and locking it: ``datastoreReady`` of the ClusterInformation."""

from __future__ import annotations

from pycalico.api.v3.clusterinformation import ClusterInformation
from pycalico.calicoctl import connection
from pycalico.calicoctl.failure import Failure
from pycalico.calicoctl.syntax import Arguments
from pycalico.datastore.errors import DatastoreError
from pycalico.datastore.typed import TypedClient


def is_locked(client: TypedClient) -> bool:
    """Raises Failure when there is no ClusterInformation."""
    try:
        return client.get(ClusterInformation, "default").spec.datastore_ready is False
    except DatastoreError as error:
        raise Failure(
            f"Error while checking if datastore was locked: Error retrieving ClusterInformation: {error}"
        ) from error


def lock(arguments: Arguments) -> None:
    """``datastore migrate lock``."""
    put(connection.checked(arguments))


def put(client: TypedClient) -> None:
    """Locks, and says so. Raises Failure."""
    try:
        client.ensure_initialized()
    except DatastoreError as error:
        raise Failure(
            f"Unable to initialize cluster information for the datastore migration: {error}"
        ) from error
    _set(client, ready=False, what="locking")
    print("Datastore locked.")


def unlock(arguments: Arguments) -> None:
    """``datastore migrate unlock``."""
    _set(connection.checked(arguments), ready=True, what="unlocking")
    print("Datastore unlocked.")


def _set(client: TypedClient, *, ready: bool, what: str) -> None:
    try:
        information = client.get(ClusterInformation, "default")
    except DatastoreError as error:
        raise Failure(f"Error retrieving ClusterInformation for {what}: {error}") from error
    information.spec.datastore_ready = ready
    try:
        client.update(information)
    except DatastoreError as error:
        raise Failure(f"Error updating ClusterInformation for {what}: {error}") from error
