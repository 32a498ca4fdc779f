"""``calicoctl datastore migrate import``: loads an export into Kubernetes.

When it fails half-way the datastore stays locked; deleting Calico's CRDs and running it again starts over.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from pycalico.api import manifests
from pycalico.api.kinds import KINDS
from pycalico.api.meta import CRD_GROUP, Resource
from pycalico.api.v3.clusterinformation import ClusterInformation
from pycalico.calicoctl import connection, lock, manifestfiles, operations
from pycalico.calicoctl.failure import Failure
from pycalico.calicoctl.migrate import ipamfile
from pycalico.calicoctl.migrate.export import RESOURCES
from pycalico.calicoctl.syntax import Arguments
from pycalico.datastore.config import KUBERNETES
from pycalico.datastore.errors import AlreadyExists, DatastoreError, NotFound
from pycalico.datastore.kubernetes import crds
from pycalico.datastore.kubernetes.client import KubernetesClient
from pycalico.datastore.kubernetes.rest import Rest, StatusError, path_of
from pycalico.datastore.typed import TypedClient

_SEPARATOR = "===\n"
_KUBERNETES_POLICY = "knp.default."
_ALREADY_EXISTS = "AlreadyExists"


def run(arguments: Arguments) -> None:
    """Raises Failure."""
    try:
        datastore = connection.config(arguments.text("--config")).datastore_type
        client = connection.client(arguments.text("--config"))
    except DatastoreError as error:
        raise Failure(error) from error
    if datastore != KUBERNETES or not isinstance(client.driver, KubernetesClient):
        raise Failure(
            f"Invalid datastore type: {datastore} to import to for datastore migration. "
            "Datastore type must be kubernetes"
        )
    # Read before anything is written: a file that cannot be loaded changes nothing.
    resources, information, part = _read(arguments.text("--filename"))
    try:
        _define(client.driver.rest)
    except DatastoreError as error:
        raise Failure(f"Error applying the CRDs necessary to begin datastore import: {error}") from error
    try:
        _check_empty(client)
    except DatastoreError as error:
        raise Failure(
            f"Datastore already has Calico resources: {error}. "
            "Clear out all Calico resources by deleting all Calico CRDs."
        ) from error
    lock.put(client)
    _apply(client, resources)
    _adopt(client, information)
    _load_ipam(client, part)
    print(
        "Datastore information successfully imported. "
        "Please refer to the datastore migration documentation for next steps."
    )


def _read(path: str) -> tuple[list[Resource], ClusterInformation, ipamfile.Part]:
    try:
        text = manifestfiles.text_of(path)
        parts = text.split(_SEPARATOR)
        if len(parts) != 3:
            raise manifests.ManifestError(
                f"Imported file: {path} is improperly formatted. Try recreating with 'calicoctl export'"
            )
        resources = manifests.parse(parts[0])
        information = msgspec.json.decode(parts[1], type=ClusterInformation)
        return resources, information, msgspec.json.decode(parts[2], type=ipamfile.Part)
    except (ValueError, msgspec.MsgspecError) as error:
        raise Failure(f"Error while reading migration file: {error}\n") from error


def _define(rest: Rest) -> None:
    api, plural = "apiextensions.k8s.io/v1", "customresourcedefinitions"
    for crd in crds.crds():
        try:
            rest.create(path_of(api, plural), crd, msgspec.Raw)
        except (AlreadyExists, StatusError) as error:
            if isinstance(error, StatusError) and error.reason != _ALREADY_EXISTS:
                raise
            path = path_of(api, plural, name=crd["metadata"]["name"])
            current = msgspec.json.decode(rest.request("GET", path))
            crd["metadata"]["resourceVersion"] = current["metadata"]["resourceVersion"]
            rest.replace(path, crd, msgspec.Raw)


class _Occupied(DatastoreError):
    pass


def _check_empty(client: TypedClient) -> None:
    """Nodes and policies that are Kubernetes' own do not count."""
    for kind in (*RESOURCES, "ClusterInformation"):
        if kind == "Node":
            continue
        items = client.list(KINDS[kind].type).items
        if any(not each.metadata.name.startswith(_KUBERNETES_POLICY) for each in items):
            raise _Occupied(f"Found existing Calico {kind} resource")
    if ipamfile.pull(client.driver, {}).count():
        raise _Occupied("Found existing IPAM resources")


def _apply(client: TypedClient, resources: list[Resource]) -> None:
    errors: list[str] = []
    done = 0
    for each in resources:
        try:
            operations.apply(client, each)
            done += 1
        except NotFound as error:
            if each.kind != "Node":
                errors.append(str(error))
                continue
            print(
                f"[WARNING] Attempted to import node {each.key} from etcd that references a nonexistent "
                "Kubernetes node. Skipping that node. Non-Kubernetes nodes are not supported in the Kubernetes "
                "datastore and will be skipped."
            )
        except DatastoreError as error:
            errors.append(str(error))
    if errors:
        raise Failure(f"Failed to import v3 resources: Hit error(s): [{' '.join(errors)}]\n{_stays_locked()}")
    print(f"Successfully applied {done} resource(s)")


def _adopt(client: TypedClient, exported: ClusterInformation) -> None:
    try:
        current = client.get(ClusterInformation, "default")
        current.spec.cluster_guid = exported.spec.cluster_guid
        current.spec.calico_version = exported.spec.calico_version
        client.update(current)
    except DatastoreError as error:
        raise Failure(f"Failed to update cluster information: {error}\n{_stays_locked()}") from error


def _load_ipam(client: TypedClient, part: ipamfile.Part) -> None:
    print("Importing IPAM resources")
    total = part.count()
    if not total:
        raise Failure("No IPAM resources specified in file")
    errors: Iterator[str] | list[str] = list(ipamfile.push(client.driver, part))
    if errors:
        raise Failure(f"Hit error(s): [{' '.join(errors)}]\n{_stays_locked()}")
    print(f"Successfully applied {total} IPAM resource(s)")


def _stays_locked() -> str:
    return f"The datastore stays locked. To start over, delete the CRDs of {CRD_GROUP} and import the file again."
