"""The ADD of the plugin ``calico``."""

from __future__ import annotations

import ipaddress
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pycalico.api.meta import ObjectMeta
from pycalico.api.v3.ippool import IPPool
from pycalico.api.v3.workloadendpoint import WorkloadEndpoint
from pycalico.cni import (
    addresses,
    endpoint,
    endpointwait,
    entry,
    hostlocal,
    links,
    podwishes,
    readiness,
    result,
)
from pycalico.cni.call import Call, check_dataplane
from pycalico.cni.errors import CNIError
from pycalico.cni.invocation import Invocation
from pycalico.datastore.errors import DatastoreError
from pycalico.datastore.kubernetes.rest import StatusError

log = logging.getLogger(__name__)

_MTU_FILE = Path("/var/lib/calico/mtu")


def add(invocation: Invocation) -> dict[str, Any]:
    """Gives the container its interface and addresses; returns the CNI result. Raises CNIError."""
    addition, config, arguments = Addition(invocation), invocation.config, invocation.arguments
    _check_client(invocation)
    readiness.await_datastore(invocation, readiness.ADD_PATIENCE_S)
    readiness.await_gates(config)
    if config.mtu == 0:
        config.mtu = _mtu_from_file()
    check_dataplane(config)
    # The first read that no memory answers.
    existing = readiness.patiently(readiness.ADD_PATIENCE_S, addition.existing_endpoint)
    if not arguments.is_kubernetes and existing is not None:
        return addition.joined(existing)
    return addition.networked(existing)


def _check_client(invocation: Invocation) -> None:
    try:
        _ = invocation.client
    except CNIError as error:
        raise CNIError(f"error creating calico client: {error}", error.code) from error


class Addition(Call):
    """One ADD."""

    def __init__(self, invocation: Invocation) -> None:
        super().__init__(invocation)
        self._given: dict[str, Any] = {}
        """The result of another IPAM plugin."""

    def joined(self, found: WorkloadEndpoint) -> dict[str, Any]:
        """An orchestrator's second network for a container: its endpoint takes on the network's profile."""
        if self.config.name not in found.spec.profiles:
            found.spec.profiles.append(self.config.name)
            endpoint.ensure_profile(self)
            self.client.update(found)
        return result.render(self._version(), found.spec.ip_networks, found.spec.interface_name)

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
            endpoint.made(self, [], (), existing)
        if self.invocation.is_repeated:
            self._release(wishes, unused=False)
        assigned = self._addresses(wishes, existing)
        written = True
        try:
            made = endpoint.made(self, assigned, (), existing)
            pair = links.Pair(
                host=made.spec.interface_name,
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
            made.spec.mac = links.connect(pair)
            if wishes.floating_ips:
                floating = podwishes.floating(wishes.floating_ips, config)
                written = False
                self._check_floating(floating)
                made = endpoint.made(self, assigned, floating, existing, made.spec.mac)
            written = False
            endpoint.write(self, made, existing)
            written = True
            if not config.policy.type:
                endpoint.ensure_profile(self)
        except (CNIError, DatastoreError):
            self._undo(wishes, unwritten=not written)
            raise
        if config.policy_setup_timeout_seconds:
            workload = f"{self.namespace}/{self.workload}" if arguments.is_kubernetes else self.workload
            path = endpointwait.status_file(
                config.endpoint_status_dir, self.orchestrator, workload, self.ifname()
            )
            endpointwait.wait(path, config.policy_setup_timeout_seconds)
        return result.render(self._version(), assigned, made.spec.interface_name, self._given)

    def _pod(self) -> ObjectMeta | None:
        """The pod's metadata; None outside Kubernetes. Raises CNIError when there is no such pod."""
        if not self.arguments.is_kubernetes:
            return None
        self._rest = entry.kubernetes(self.invocation)
        if self.core_pod is None:
            try:
                self.core_pod = entry.read_pod(self._rest, self.namespace, self.workload)
            except DatastoreError as error:
                if isinstance(error, StatusError) and self.config.policy.type == "k8s":
                    # A namespace that is not there is the better reason.
                    self._namespace_annotations()
                raise CNIError.of(error) from error
        if not self.core_pod.spec.node_name:
            raise CNIError("error with field node (field should be assigned)")
        return self.core_pod.metadata

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
            given = self.delegate("ADD")
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
                self.delegate("DEL")
        except (CNIError, DatastoreError) as error:
            log.warning("addresses of %s were not given back: %s", self.workload, error)

    def _routes(self) -> list[str]:
        if self.config.ipam_type != "host-local" or not self.arguments.is_kubernetes:
            return []
        own = hostlocal.routes(self.config.ipam)
        if own and self.config.include_default_routes:
            return ["0.0.0.0/0", "::/0", *own]
        return own


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
