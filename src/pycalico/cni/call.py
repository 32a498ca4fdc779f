"""What an ADD or DEL of the plugin ``calico`` is about: who the container is, and where its records are."""

from __future__ import annotations

from typing import Any

from pycalico.api import names
from pycalico.api.v3.workloadendpoint import WorkloadEndpoint, WorkloadEndpointSpec
from pycalico.cni import delegate, entry, hostlocal, netconf, readiness
from pycalico.cni.errors import CNIError
from pycalico.cni.invocation import HasRest, Invocation
from pycalico.cni.netconf import NetConf
from pycalico.datastore.client import Client
from pycalico.datastore.errors import DatastoreError
from pycalico.datastore.kubernetes import core
from pycalico.datastore.kubernetes.rest import path_of


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
        self.core_pod: core.Pod | None = None
        """As `existing_endpoint` read it; None outside Kubernetes and with etcd."""

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
                self.core_pod = entry.find_pod(self.client.rest, self.namespace, self.workload)
                found = entry.present_endpoint(self.core_pod) if self.core_pod is not None else None
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

    def delegate(self, command: str) -> dict[str, Any]:
        """Runs another IPAM plugin; returns its result. Raises CNIError."""
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


def check_dataplane(config: NetConf) -> None:
    """Raises CNIError for a dataplane that is none of ours."""
    kind = config.dataplane_options.get("type")
    if kind == "grpc" and "socket" not in config.dataplane_options:
        raise CNIError("GRPC dataplane socket not configured")
    if kind is not None:
        raise CNIError(f"Invalid dataplane type: {kind}")
