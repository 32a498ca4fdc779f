"""The CNI plugin ``calico``."""

from __future__ import annotations

import ipaddress
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pycalico.api import names
from pycalico.api.meta import Key, ObjectMeta
from pycalico.api.rule import EntityRule, Rule
from pycalico.api.v3.clusterinformation import ClusterInformation
from pycalico.api.v3.ippool import IPPool
from pycalico.api.v3.profile import Profile, ProfileSpec
from pycalico.api.v3.workloadendpoint import IPNAT, WorkloadEndpoint, WorkloadEndpointSpec
from pycalico.cni import (
    addresses,
    collection,
    deadline,
    delegate,
    deletions,
    endpointwait,
    entry,
    hostlocal,
    links,
    netconf,
    podwishes,
    readiness,
    result,
)
from pycalico.cni.errors import TRY_AGAIN, CNIError
from pycalico.cni.invocation import HasRest, Invocation
from pycalico.cni.netconf import NetConf
from pycalico.datastore.client import Client
from pycalico.datastore.errors import AlreadyExists, Conflict, DatastoreError, Invalid, NotFound
from pycalico.datastore.kubernetes import core
from pycalico.datastore.kubernetes.rest import StatusError, path_of

log = logging.getLogger(__name__)

_MTU_FILE = Path("/var/lib/calico/mtu")
_DELETE_TRIES = 5
#: A DEL that takes longer is finished later: runtimes give up on slow ones and keep the pod.
_DELETE_S = 6.0
_CONTAINER_NAME = 11


# ---- ADD ----------------------------------------------------------------------------------------------------


def add(invocation: Invocation) -> dict[str, Any]:
    """Gives the container its interface and addresses; returns the CNI result. Raises CNIError."""
    call, config, arguments = Call(invocation), invocation.config, invocation.arguments
    _check_client(invocation)
    readiness.await_datastore(invocation, readiness.ADD_PATIENCE_S)
    readiness.await_gates(config)
    if config.mtu == 0:
        config.mtu = _mtu_from_file()
    _check_dataplane(config)
    # The first read that no memory answers.
    existing = readiness.patiently(readiness.ADD_PATIENCE_S, call.existing_endpoint)
    if not arguments.is_kubernetes and existing is not None:
        return call.joined(existing)
    return call.networked(existing)


def _check_client(invocation: Invocation) -> None:
    try:
        _ = invocation.client
    except CNIError as error:
        raise CNIError(f"error creating calico client: {error}", error.code) from error


def _check_dataplane(config: NetConf) -> None:
    kind = config.dataplane_options.get("type")
    if kind == "grpc" and "socket" not in config.dataplane_options:
        raise CNIError("GRPC dataplane socket not configured")
    if kind is not None:
        raise CNIError(f"Invalid dataplane type: {kind}")


class Call:
    """One ADD or DEL: the configuration, the datastore, and who the container is."""

    def __init__(self, invocation: Invocation) -> None:
        config, arguments = invocation.config, invocation.arguments
        readiness.await_nodename(config)
        self.invocation, self.config, self.arguments = invocation, config, arguments
        self.node = netconf.node_name(config)
        self.orchestrator = "k8s" if arguments.is_kubernetes else "cni"
        self.namespace = arguments.namespace if arguments.is_kubernetes else arguments.test_namespace
        self.workload = arguments.pod if arguments.is_kubernetes else arguments.container_id
        self._core_pod: core.Pod | None = None
        self._given: dict[str, Any] = {}
        """The result of another IPAM plugin."""

    @property
    def client(self) -> Client:
        return self.invocation.client

    @property
    def uses_calico_ipam(self) -> bool:
        return self.config.ipam_type == "calico-ipam"

    def endpoint_name(self) -> str:
        return names.workload_endpoint(self.node, self.orchestrator, self.workload, self.ifname())

    def ifname(self) -> str:
        # Where the pod is the endpoint it has one name, whatever the runtime calls the interface.
        pod_is_endpoint = self.orchestrator == "k8s" and isinstance(self.client, HasRest)
        return "eth0" if pod_is_endpoint else self.arguments.ifname

    def existing_endpoint(self) -> WorkloadEndpoint | None:
        prefix = names.workload_endpoint(self.node, self.orchestrator, self.workload, "")
        try:
            if self.arguments.is_kubernetes and isinstance(self.client, HasRest):
                # The pod is the endpoint, and wanted later on: it is read once.
                self._core_pod = entry.find_pod(self.client.rest, self.namespace, self.workload)
                found = entry.present_endpoint(self._core_pod) if self._core_pod is not None else None
                return found if found is not None and found.metadata.name.startswith(prefix) else None
            if isinstance(self.client, HasRest):
                raise CNIError(
                    "resource does not exist: WorkloadEndpoint with error: malformed WorkloadEndpoint name - "
                    "unable to determine Pod name"
                )
            listed = self.client.list(WorkloadEndpoint, self.namespace, name_prefix=prefix).items
        except DatastoreError as error:
            raise CNIError.of(error, "error listing endpoints: ") from error
        # The prefix is that of "a-b" too where the workload is "a".
        mine = (found for found in listed if self._is_mine(found.spec))
        return next(mine, None)

    def _is_mine(self, found: WorkloadEndpointSpec) -> bool:
        workload = found.pod if self.arguments.is_kubernetes else found.workload or found.container_id
        return workload == self.workload

    def joined(self, endpoint: WorkloadEndpoint) -> dict[str, Any]:
        """An orchestrator's second network for a container: its endpoint takes on the network's profile."""
        if self.config.name not in endpoint.spec.profiles:
            endpoint.spec.profiles.append(self.config.name)
            self._ensure_profile()
            self.client.update(endpoint)
        return result.render(self._version(), endpoint.spec.ip_networks, endpoint.spec.interface_name)

    def _version(self) -> str:
        return self.config.cniVersion or "0.2.0"

    def networked(self, existing: WorkloadEndpoint | None) -> dict[str, Any]:
        """The address first, then the interface, then the endpoint; an address does not outlive a failure.

        What upstream looks at after it has made the interface is looked at then here too: its DEL removes it.
        """
        arguments, config = self.arguments, self.config
        pod, wishes = self._pod(), podwishes.PodWishes()
        if pod is not None and config.policy.type == "k8s":
            wishes = podwishes.parse(pod.annotations, self._namespace_annotations(), config)
            # What makes no endpoint gets no address either.
            self._endpoint([], (), existing)
        if self.invocation.is_repeated:
            self._release(wishes, unused=False)
        assigned = self._addresses(wishes, existing)
        written = True
        try:
            endpoint = self._endpoint(assigned, (), existing)
            pair = links.Pair(
                host=endpoint.spec.interface_name,
                ifname=arguments.ifname,
                netns=self.invocation.netns,
                addresses=assigned,
                mtu=max(config.mtu, 0),
                queues=config.num_queues,
                mac=wishes.mac,
                forwarding=config.container_settings.allow_ip_forwarding,
                routes=self._routes(),
            )
            links.check_netns(self.invocation.netns, arguments.netns)
            endpoint.spec.mac = links.connect(pair)
            if wishes.floating_ips:
                floating = podwishes.floating(wishes.floating_ips, config)
                written = False
                self._check_floating(floating)
                endpoint = self._endpoint(assigned, floating, existing, endpoint.spec.mac)
            written = False
            self._write(endpoint, existing)
            written = True
            if not config.policy.type:
                self._ensure_profile()
        except (CNIError, DatastoreError):
            self._undo(wishes, unwritten=not written)
            raise
        if config.policy_setup_timeout_seconds:
            workload = f"{self.namespace}/{self.workload}" if arguments.is_kubernetes else self.workload
            path = endpointwait.status_file(
                config.endpoint_status_dir, self.orchestrator, workload, self.ifname()
            )
            endpointwait.wait(path, config.policy_setup_timeout_seconds)
        return result.render(self._version(), assigned, endpoint.spec.interface_name, self._given)

    def _pod(self) -> ObjectMeta | None:
        """The pod's metadata; None outside Kubernetes. Raises CNIError when there is no such pod."""
        if not self.arguments.is_kubernetes:
            return None
        self._rest = entry.kubernetes(self.invocation)
        if self._core_pod is None:
            try:
                self._core_pod = entry.read_pod(self._rest, self.namespace, self.workload)
            except DatastoreError as error:
                if isinstance(error, StatusError) and self.config.policy.type == "k8s":
                    # A namespace that is not there is the better reason.
                    self._namespace_annotations()
                raise CNIError.of(error) from error
        if not self._core_pod.spec.node_name:
            raise CNIError("error with field node (field should be assigned)")
        return self._core_pod.metadata

    def _check_floating(self, wanted: Sequence[str]) -> None:
        """A pod claims no address but of a pool (GHSA-9394-xfq9-6qrp); any pool will do, also one that is disabled."""
        if not wanted:
            return
        try:
            pools = [ipaddress.ip_network(pool.spec.cidr) for pool in self.client.list(IPPool).items]
        except DatastoreError as error:
            raise CNIError.of(error) from error
        for text in wanted:
            try:
                address = ipaddress.ip_address(text)
            except ValueError:
                raise CNIError(f"invalid IP format: {text}") from None
            if not any(address in pool for pool in pools):
                raise CNIError(f"the floating IP {text} is in no IP pool: make a pool that holds it")

    def _namespace_annotations(self) -> dict[str, str]:
        try:
            return entry.read_namespace(self._rest, self.namespace).metadata.annotations
        except DatastoreError as error:
            raise CNIError.of(error) from error

    def _addresses(self, wishes: podwishes.PodWishes, existing: WorkloadEndpoint | None) -> list[str]:
        """Single addresses in CIDR form (/32, /128)."""
        if wishes.no_ipam:
            return [_single(item) for item in wishes.addresses]
        if not self.uses_calico_ipam:
            self._routes()
            given = self._delegate("ADD")
            found = result.addresses_of(given)
            if not found:
                raise CNIError("IPAM plugin returned missing IP config")
            self._given = given
            return [_single(item) for item in found]
        wish = addresses.wish_of(self.config, self.arguments)
        if wishes.ipv4_pools is not None:
            wish.ipv4_pools = wishes.ipv4_pools
        if wishes.ipv6_pools is not None:
            wish.ipv6_pools = wishes.ipv6_pools
        if not wishes.addresses:
            found = addresses.assign(self.invocation, self.node, wish)
            if not found:
                raise CNIError("IPAM plugin returned missing IP config")
            return [_single(item) for item in found]
        if existing is not None:
            addresses.release_of_pod(self.invocation, existing.spec.ip_networks)
        assigned: list[str] = []
        for address in wishes.addresses:
            wish.address = address
            try:
                assigned += addresses.assign(self.invocation, self.node, wish)
            except CNIError as error:
                self._release(wishes)
                raise CNIError(f"error getting IP from IPAM: {error}") from error
        return assigned

    def _undo(self, wishes: podwishes.PodWishes, *, unwritten: bool) -> None:
        """Takes addresses back after a failure, and the interface of an endpoint that could not be written."""
        if unwritten:
            try:
                links.disconnect(self.invocation.netns, self.arguments.ifname)
            except CNIError as error:
                log.warning("the interface of %s stays: %s", self.workload, error)
        self._release(wishes)

    def _release(self, wishes: podwishes.PodWishes, *, unused: bool = True) -> None:
        """Gives the addresses back after a failure; what goes wrong here must not hide the first error."""
        if wishes.no_ipam:
            return
        try:
            if self.uses_calico_ipam:
                addresses.release(self.invocation, unused=unused)
            else:
                self._delegate("DEL")
        except (CNIError, DatastoreError) as error:
            log.warning("addresses of %s were not given back: %s", self.workload, error)

    def _delegate(self, command: str) -> dict[str, Any]:
        conf = dict(self.invocation.raw)
        if self.config.ipam_type == "host-local" and self.arguments.is_kubernetes:
            if command == "DEL":
                conf["ipam"] = hostlocal.emptied(self.config.ipam)
            else:
                conf["ipam"] = hostlocal.filled(self.config.ipam, self._pod_cidrs(), self.node)
        return delegate.run(
            self.config.ipam_type, command, conf, self.arguments.path, self.invocation.environ
        )

    def _pod_cidrs(self) -> list[str]:
        node = self.config.kubernetes.node_name or self.node
        try:
            spec = entry.kubernetes(self.invocation).get(path_of("v1", "nodes", "", node), core.Node).spec
        except DatastoreError as error:
            raise CNIError.of(error) from error
        return spec.pod_cidrs or [cidr for cidr in (spec.pod_cidr,) if cidr]

    def _routes(self) -> list[str]:
        if self.config.ipam_type != "host-local" or not self.arguments.is_kubernetes:
            return []
        own = hostlocal.routes(self.config.ipam)
        if own and self.config.include_default_routes:
            return ["0.0.0.0/0", "::/0", *own]
        return own

    def _endpoint(
        self,
        assigned: list[str],
        floating: Sequence[str],
        existing: WorkloadEndpoint | None,
        mac: str = "",
    ) -> WorkloadEndpoint:
        arguments = self.arguments
        if self._core_pod is not None:
            endpoint = entry.endpoint_of(self._core_pod, self.node, self.config.policy.type)
            if not self.config.policy.type:
                endpoint.spec.profiles = [self.config.name]
            endpoint.metadata.name, endpoint.spec.endpoint = self.endpoint_name(), self.ifname()
            if existing is not None:
                endpoint.metadata.name, endpoint.spec.endpoint = (
                    existing.metadata.name,
                    existing.spec.endpoint,
                )
        else:
            endpoint = WorkloadEndpoint(
                metadata=ObjectMeta(
                    name=self.endpoint_name(),
                    namespace=self.namespace,
                    labels={
                        **self.config.mesos_labels,
                        "projectcalico.org/namespace": self.namespace,
                        "projectcalico.org/orchestrator": self.orchestrator,
                    },
                ),
                spec=WorkloadEndpointSpec(
                    orchestrator=self.orchestrator,
                    node=self.node,
                    endpoint=arguments.ifname,
                    profiles=[self.config.name],
                    interface_name="cali" + arguments.container_id[:_CONTAINER_NAME],
                ),
            )
        endpoint.spec.container_id = arguments.container_id
        endpoint.spec.ip_networks = assigned
        endpoint.spec.mac = mac
        if floating:
            own = {":" in item: item.split("/")[0] for item in assigned}
            endpoint.spec.ip_nats = [
                IPNAT(internal_ip=own[":" in item], external_ip=item)
                for item in floating
                if (":" in item) in own
            ]
        return endpoint

    def _write(self, endpoint: WorkloadEndpoint, existing: WorkloadEndpoint | None) -> None:
        if existing is not None:
            endpoint.metadata.uid = existing.metadata.uid
            endpoint.metadata.creation_timestamp = existing.metadata.creation_timestamp
            endpoint.metadata.resource_version = self._revision_to_match(existing)
            self.client.update(endpoint)
            return
        try:
            self.client.create(endpoint)
        except AlreadyExists:
            current = self.client.get(WorkloadEndpoint, endpoint.metadata.name, self.namespace)
            endpoint.metadata.resource_version = current.metadata.resource_version
            self.client.update(endpoint)

    def _revision_to_match(self, existing: WorkloadEndpoint) -> str:
        """In Kubernetes the revision is the pod's, which the kubelet moves on all the time: match its uid only."""
        return "" if isinstance(self.client, HasRest) else existing.metadata.resource_version

    def _ensure_profile(self) -> None:
        """A network without Kubernetes policy has a profile of its name: its members reach each other."""
        name = self.config.name
        source = EntityRule() if self.arguments.is_kubernetes else EntityRule(selector=f"has({name})")
        profile = Profile(
            metadata=ObjectMeta(name=name),
            spec=ProfileSpec(
                ingress=[Rule(action="Allow", source=source)],
                egress=[Rule(action="Allow")],
                labels_to_apply={name: ""},
            ),
        )
        try:
            self.client.get(Profile, name)
        except NotFound:
            try:
                self.client.create(profile)
            except AlreadyExists:
                return


def _single(address: str) -> str:
    ip = address.split("/", maxsplit=1)[0]
    return f"{ip}/{128 if ':' in ip else 32}"


def _mtu_from_file() -> int:
    try:
        text = _MTU_FILE.read_text().strip()
    except FileNotFoundError:
        return 0
    except OSError as error:
        raise CNIError(f"failed to read MTU file: {error}") from error
    try:
        return int(text or 0)
    except ValueError:
        raise CNIError(f'failed to read MTU file: strconv.Atoi: parsing "{text}": invalid syntax') from None


# ---- DEL ----------------------------------------------------------------------------------------------------


def delete(invocation: Invocation) -> None:
    """Takes everything back; whatever is gone already is success. Raises CNIError.

    While the datastore is away, the interface goes at once, and what the datastore has is left to the node's agent.
    """
    _check_dataplane(invocation.config)
    call = Call(invocation)
    try:
        deadline.within(_DELETE_S, lambda: _finish(call, readiness.DEL_PATIENCE_S), "the deletion")
    except CNIError as error:
        if error.code != TRY_AGAIN:
            raise
        links.disconnect(invocation.netns, invocation.arguments.ifname)
        try:
            deletions.leave(invocation)
        except OSError:
            raise error from None
        log.warning("%s; the node's agent will give back what %s has", error, call.workload)


def finish_deletion(invocation: Invocation) -> None:
    """What a DEL left: everything but the interface. Raises CNIError."""
    _finish(Call(invocation), 0.0)


def _finish(call: Call, patience_s: float) -> None:
    readiness.await_datastore(call.invocation, patience_s)
    _delete(call)


def _delete(call: Call) -> None:
    invocation, arguments = call.invocation, call.arguments
    if not arguments.is_kubernetes:
        failure = _released(call)
        _delete_endpoint(call)
        links.disconnect(invocation.netns, arguments.ifname)
        if failure is not None:
            raise failure
        return
    _delete_endpoint(call)
    links.disconnect(invocation.netns, arguments.ifname)
    failure = _released(call)
    if failure is not None:
        raise failure


def _released(call: Call) -> CNIError | None:
    try:
        if call.uses_calico_ipam:
            addresses.release(call.invocation)
        elif call.config.ipam_type:
            call._delegate("DEL")  # noqa: SLF001 - the same module's
    except CNIError as error:
        return error
    return None


def _delete_endpoint(call: Call) -> None:
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


def test(invocation: Invocation) -> None:
    """``-t``: can the datastore be reached? Raises CNIError."""
    try:
        invocation.client.get(ClusterInformation, "default")
    except NotFound:
        return
    except DatastoreError as error:
        raise CNIError("data store connection failed", 100, str(error)) from error


PLUGIN = entry.Plugin(
    "calico", "Calico", "Calico CNI plugin", add, delete, readiness.status, collection.collect, test=test
)


def main() -> None:
    # The image has the installer as a program of its own.
    if sys.argv[1:] == ["install"] or Path(sys.argv[0]).name == "install":
        from pycalico.cni import install  # noqa: PLC0415 - a pod's call pays nothing for it

        sys.exit(install.run())
    entry.main(PLUGIN)
