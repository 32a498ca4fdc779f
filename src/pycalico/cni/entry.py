"""What both plugins share: flags, reading the call, printing the answer, the datastore."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable
from typing import Any

import msgspec

from pycalico import CALICO_VERSION
from pycalico.api.v3.workloadendpoint import WorkloadEndpoint
from pycalico.cni import logfile, netconf
from pycalico.cni.errors import INTERNAL, STARTUP, CNIError
from pycalico.cni.netconf import SPEC_VERSION, SUPPORTED_VERSIONS, Arguments, NetConf
from pycalico.datastore.client import Client
from pycalico.datastore.config import from_environment
from pycalico.datastore.errors import DatastoreError, Invalid
from pycalico.datastore.kubernetes import core
from pycalico.datastore.kubernetes.client import KubernetesClient
from pycalico.datastore.kubernetes.convert import pod as pod_convert
from pycalico.datastore.kubernetes.rest import Rest, path_of
from pycalico.datastore.open import kubernetes_access, open_client

log = logging.getLogger(__name__)

Add = Callable[[NetConf, Arguments, dict[str, Any]], dict[str, Any]]
Delete = Callable[[NetConf, Arguments, dict[str, Any]], None]


def main(name: str, *, add: Add, delete: Delete, test: Callable[[NetConf], None] | None = None) -> None:
    """The program: ``-v``, ``-t``, or a CNI call from the environment and stdin. Exit code 0 or 1."""
    flags = sys.argv[1:]
    if flags in (["-v"], ["--v"]):
        print(CALICO_VERSION)
        return
    try:
        if flags == ["-t"] and test is not None:
            test(netconf.parse_config(sys.stdin.buffer.read()))
            return
        if flags:
            _print(CNIError(f"failed to parse CLI flags: {' '.join(flags)}", STARTUP).to_wire())
            sys.exit(1)
        _call(name, add, delete)
    except CNIError as error:
        _print(error.to_wire())
        sys.exit(1)
    except DatastoreError as error:
        _print(CNIError(str(error)).to_wire())
        sys.exit(1)
    except Exception as error:
        log.exception("unexpected failure")
        command = os.environ.get("CNI_COMMAND", "")
        _print(CNIError(f"Calico CNI panicked during {command}: {error}", INTERNAL).to_wire())
        sys.exit(1)


def _call(name: str, add: Add, delete: Delete) -> None:
    command = os.environ.get("CNI_COMMAND", "")
    if not command:
        # A person ran the plugin by hand: say what it is, on stderr as runtimes read stdout.
        print(f"CNI {name} plugin {CALICO_VERSION}", file=sys.stderr)
        return
    if command == "VERSION":
        _print({"cniVersion": SPEC_VERSION, "supportedVersions": list(SUPPORTED_VERSIONS)})
        return
    arguments = netconf.parse_arguments(os.environ)
    data = sys.stdin.buffer.read()
    config = netconf.parse_config(data)
    logfile.configure(config)
    if command in ("STATUS", "GC"):
        raise CNIError(f"config version does not allow {command}", 1)
    raw = msgspec.json.decode(data)
    if command == "CHECK":
        if config.cniVersion < "0.4.0":
            raise CNIError("config version does not allow CHECK", 1)
        if name == "calico":
            print("OK")
        return
    if command == "ADD":
        _print(add(config, arguments, raw))
    else:
        delete(config, arguments, raw)


def _print(answer: dict[str, Any]) -> None:
    sys.stdout.buffer.write(msgspec.json.format(msgspec.json.encode(answer), indent=4))
    sys.stdout.buffer.write(b"\n")
    sys.stdout.flush()


def open_datastore(config: NetConf) -> Client:
    """Raises CNIError when the conflist does not lead to a datastore."""
    environ = netconf.environment_of(config, os.environ)
    try:
        return open_client(from_environment(environ), environ)
    except Invalid as error:
        raise CNIError(f"error creating calico client: {error}") from error


def is_kubernetes(client: Client) -> bool:
    return isinstance(client, KubernetesClient)


def kubernetes(client: Client, config: NetConf) -> Rest:
    """The API server: the datastore's own connection, or with etcd the one that the conflist names."""
    if isinstance(client, KubernetesClient):
        return client.rest
    environ = {**netconf.environment_of(config, os.environ), "DATASTORE_TYPE": "kubernetes"}
    try:
        return Rest(kubernetes_access(from_environment(environ), environ))
    except Invalid as error:
        raise CNIError(f"error creating Kubernetes client: {error}") from error


def read_pod(rest: Rest, namespace: str, name: str) -> core.Pod:
    return rest.get(path_of("v1", "pods", namespace, name), core.Pod)


def read_namespace(rest: Rest, name: str) -> core.Namespace:
    return rest.get(path_of("v1", "namespaces", "", name), core.Namespace)


def endpoint_of(pod: core.Pod, node: str, policy: str) -> WorkloadEndpoint:
    """The pod's endpoint on this node; without Kubernetes policy it has no labels and profiles of the pod."""
    pod.spec.node_name = node
    try:
        endpoint = pod_convert.to_workload_endpoint(pod)
    except ValueError as error:
        raise CNIError(str(error)) from error
    if policy != "k8s":
        endpoint.metadata.labels = {
            key: value
            for key, value in endpoint.metadata.labels.items()
            if key in ("projectcalico.org/namespace", "projectcalico.org/orchestrator")
        }
        endpoint.spec.ports, endpoint.spec.service_account_name = [], ""
    return endpoint
