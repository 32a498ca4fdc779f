"""The WorkloadEndpoint of a container, and the profile of a network without Kubernetes policy: written and deleted."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from pycalico.api.meta import Key, ObjectMeta
from pycalico.api.rule import EntityRule, Rule
from pycalico.api.v3.profile import Profile, ProfileSpec
from pycalico.api.v3.workloadendpoint import IPNAT, WorkloadEndpoint, WorkloadEndpointSpec
from pycalico.cni import entry
from pycalico.cni.call import Call
from pycalico.cni.errors import CNIError
from pycalico.cni.invocation import HasRest
from pycalico.datastore.errors import AlreadyExists, Conflict, DatastoreError, Invalid, NotFound

log = logging.getLogger(__name__)

_DELETE_TRIES = 5
_CONTAINER_NAME = 11


def made(
    call: Call,
    assigned: list[str],
    floating: Sequence[str],
    existing: WorkloadEndpoint | None,
    mac: str = "",
) -> WorkloadEndpoint:
    """Of the container with its addresses; ``existing`` is the one that it has already."""
    arguments = call.arguments
    if call.core_pod is not None:
        endpoint = entry.endpoint_of(call.core_pod, call.node, call.config.policy.type)
        if not call.config.policy.type:
            endpoint.spec.profiles = [call.config.name]
        endpoint.metadata.name, endpoint.spec.endpoint = call.endpoint_name(), call.ifname()
        if existing is not None:
            endpoint.metadata.name, endpoint.spec.endpoint = existing.metadata.name, existing.spec.endpoint
    else:
        endpoint = WorkloadEndpoint(
            metadata=ObjectMeta(
                name=call.endpoint_name(),
                namespace=call.namespace,
                labels={
                    **call.config.mesos_labels,
                    "projectcalico.org/namespace": call.namespace,
                    "projectcalico.org/orchestrator": call.orchestrator,
                },
            ),
            spec=WorkloadEndpointSpec(
                orchestrator=call.orchestrator,
                node=call.node,
                endpoint=arguments.ifname,
                profiles=[call.config.name],
                interface_name="cali" + arguments.container_id[:_CONTAINER_NAME],
            ),
        )
    endpoint.spec.container_id = arguments.container_id
    endpoint.spec.ip_networks = assigned
    endpoint.spec.mac = mac
    if floating:
        own = {":" in item: item.split("/")[0] for item in assigned}
        endpoint.spec.ip_nats = [
            IPNAT(internal_ip=own[":" in item], external_ip=item) for item in floating if (":" in item) in own
        ]
    return endpoint


def write(call: Call, endpoint: WorkloadEndpoint, existing: WorkloadEndpoint | None) -> None:
    """In place of ``existing``, or of one that came meanwhile. Raises DatastoreError."""
    if existing is not None:
        endpoint.metadata.uid = existing.metadata.uid
        endpoint.metadata.creation_timestamp = existing.metadata.creation_timestamp
        endpoint.metadata.resource_version = _revision_to_match(call, existing)
        call.client.update(endpoint)
        return
    try:
        call.client.create(endpoint)
    except AlreadyExists:
        current = call.client.get(WorkloadEndpoint, endpoint.metadata.name, call.namespace)
        endpoint.metadata.resource_version = current.metadata.resource_version
        call.client.update(endpoint)


def _revision_to_match(call: Call, existing: WorkloadEndpoint) -> str:
    """In Kubernetes the revision is the pod's, which the kubelet moves on all the time: match its uid only."""
    return "" if isinstance(call.client, HasRest) else existing.metadata.resource_version


def ensure_profile(call: Call) -> None:
    """A network without Kubernetes policy has a profile of its name: its members reach each other."""
    name = call.config.name
    source = EntityRule() if call.arguments.is_kubernetes else EntityRule(selector=f"has({name})")
    profile = Profile(
        metadata=ObjectMeta(name=name),
        spec=ProfileSpec(
            ingress=[Rule(action="Allow", source=source)],
            egress=[Rule(action="Allow")],
            labels_to_apply={name: ""},
        ),
    )
    try:
        call.client.get(Profile, name)
    except NotFound:
        try:
            call.client.create(profile)
        except AlreadyExists:
            return


def delete(call: Call) -> None:
    """Only the endpoint of this very container: a pod of the same name may have a new one already."""
    name, client = call.endpoint_name(), call.client
    for _ in range(_DELETE_TRIES):
        try:
            endpoint = client.get(WorkloadEndpoint, name, call.namespace)
        except NotFound:
            log.warning("WorkloadEndpoint %s does not exist, no need to clean it up", name)
            return
        except Invalid as error:
            # Somebody edited the pod since; that must not keep it from ending.
            log.warning("WorkloadEndpoint %s is left as it is: %s", name, error)
            return
        except DatastoreError as error:
            raise CNIError.of(error) from error
        owner = endpoint.spec.container_id
        if owner and owner != call.arguments.container_id:
            log.warning("CNI_CONTAINERID does not match WorkloadEndpoint ContainerID, don't delete WEP.")
            return
        try:
            client.delete(
                WorkloadEndpoint,
                name,
                call.namespace,
                revision=endpoint.metadata.resource_version,
                uid=endpoint.metadata.uid,
            )
        except Conflict:
            continue
        except NotFound:
            return
        except DatastoreError as error:
            raise CNIError.of(error) from error
        return
    raise CNIError(
        f"error deleting endpoint: endpoint was modified before it could be deleted: "
        f"{Conflict(Key('WorkloadEndpoint', call.namespace, name))}"
    )
