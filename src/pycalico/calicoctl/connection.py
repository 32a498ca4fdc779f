"""From the options to a client, and the check that client and cluster are of one release."""

from __future__ import annotations

import functools
import os

from pycalico import CALICO_VERSION
from pycalico.api.kinds import KINDS
from pycalico.calicoctl.failure import Failure
from pycalico.calicoctl.paths import DEFAULT_PATH
from pycalico.calicoctl.syntax import Arguments
from pycalico.datastore.config import ETCD, DatastoreConfig, from_environment, from_file
from pycalico.datastore.errors import DatastoreError, Invalid, NotFound, Unauthorized, Unavailable
from pycalico.datastore.typed import TypedClient

_OVERRIDE = "Use --allow-version-mismatch to override.\n"


def config(path: str) -> DatastoreConfig:
    """The file's configuration, or the environment's when the default file is absent. Raises Invalid."""
    if os.path.exists(path):  # noqa: PTH110 (pathlib costs more to load than this takes)
        try:
            return from_file(path)
        except (OSError, UnicodeDecodeError) as error:
            raise Invalid(f"open {path}: {getattr(error, 'strerror', None) or error}".lower()) from error
    if path != DEFAULT_PATH:
        raise Failure(f"Error reading config file: {path}", stdout=True)
    return from_environment(os.environ)


@functools.cache
def client(path: str) -> TypedClient:
    """One client per run. Raises DatastoreError when the configuration cannot be used."""
    found = config(path)
    if found.datastore_type == ETCD:
        from pycalico.datastore.etcd.client import EtcdClient  # noqa: PLC0415 (one driver is loaded)

        driver = EtcdClient(found)
    else:
        from pycalico.datastore.open import open_client  # noqa: PLC0415

        driver = open_client(found)  # type: ignore[assignment]

    def allocator() -> object:
        from pycalico.ipam.allocator import Allocator  # noqa: PLC0415 (loaded to delete pools and nodes)

        return Allocator(driver)

    return TypedClient(driver, allocator)  # type: ignore[arg-type]


def _path(arguments: Arguments) -> str:
    """The file that is given, be it one without a name, which is an error and no default."""
    return arguments.texts.get("--config", DEFAULT_PATH)


def required(arguments: Arguments) -> TypedClient:
    """The client, or the end of the command."""
    try:
        return client(_path(arguments))
    except DatastoreError as error:
        raise Failure(f"Failed to create Calico API client: {error}", stdout=True) from error


def checked(arguments: Arguments) -> TypedClient:
    """For commands that report a client's failure as their own: versions checked, then the client. Raises Failure."""
    check_version(arguments)
    try:
        return client(_path(arguments))
    except DatastoreError as error:
        raise Failure(error) from error


def ask_ahead(arguments: Arguments, kind: str, namespace: str = "", *, each: bool = False) -> None:
    """Tells the datastore, where it can be told, that a list of ``kind`` comes next, or ``each`` of it: it answers meanwhile."""
    try:
        driver = client(_path(arguments)).driver
    except DatastoreError:
        return
    ask = getattr(driver, "ask_ahead", None)
    if ask is not None:
        ask(kind, namespace, each=each)


def check_version(arguments: Arguments) -> None:
    """Raises Failure when the cluster is of another release; what cannot be found out is no reason to stop."""
    if "--allow-version-mismatch" in arguments.switches:
        return
    try:
        found = client(_path(arguments))
    except DatastoreError:
        return  # the command itself says so, if it needs a client
    try:
        information = found.get(KINDS["ClusterInformation"].type, "default")
    except NotFound:
        return
    except (Unauthorized, Unavailable) as error:
        raise Failure(error) from error
    except DatastoreError as error:
        raise Failure(
            f"Unable to get Cluster Information to verify version mismatch: {error}\n{_OVERRIDE}"
        ) from error
    version = information.spec.calico_version  # type: ignore[attr-defined]
    if version and release(version) != release(CALICO_VERSION):
        raise Failure(
            f"Version mismatch.\nClient Version:   {CALICO_VERSION}\nCluster Version:  {release(version)}\n{_OVERRIDE}"
        )


def release(version: str) -> str:
    """``v3.28.1-5-gabc`` → ``3.28.1``."""
    return version.removeprefix("v").partition("-")[0]
