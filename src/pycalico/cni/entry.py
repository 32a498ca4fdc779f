"""What both plugins share: flags, reading the call, printing the answer, the datastore."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from pycalico import CALICO_VERSION
from pycalico.api.v3.workloadendpoint import WorkloadEndpoint
from pycalico.cni import deadline, logfile, netconf
from pycalico.cni.errors import INTERNAL, CNIError
from pycalico.cni.invocation import HasRest, Invocation, OneCall, Stores
from pycalico.cni.netconf import SPEC_VERSION, SUPPORTED_VERSIONS, Arguments
from pycalico.datastore.errors import DatastoreError
from pycalico.datastore.kubernetes import core
from pycalico.datastore.kubernetes.convert import pod as pod_convert
from pycalico.datastore.kubernetes.rest import Rest, StatusError, path_of

log = logging.getLogger(__name__)

#: As long as a runtime waits at most.
_CALL_S = 110
_NOT_FOUND = 404

Add = Callable[[Invocation], dict[str, Any]]
Delete = Callable[[Invocation], None]


class Plugin(msgspec.Struct, frozen=True):
    """One of the two plugins; ``collect`` is GC, ``test`` and ``upgrade`` are what ``-t`` and ``-upgrade`` run.

    ``title`` and ``about`` are what it calls itself in its usage and to a person.
    """

    name: str
    title: str
    about: str
    add: Add
    delete: Delete
    status: Callable[[Invocation], None]
    collect: Callable[[Invocation], None]
    test: Callable[[Invocation], None] | None = None
    upgrade: Callable[[], int] | None = None


class Answer(msgspec.Struct, frozen=True):
    """What the process is to leave: ``output`` goes to stdout, ``remark`` to stderr."""

    code: int = 0
    output: bytes = b""
    remark: str = ""


def main(plugin: Plugin) -> None:
    """The program: ``-v``, ``-t``, or a CNI call from the environment and stdin. Exit code 0 or 1."""
    answer = _by_flags(plugin, sys.argv[1:])
    if answer is None:
        deadline.of_process(_CALL_S)
        given = sys.stdin.buffer.read() if os.environ.get("CNI_COMMAND", "") not in ("", "VERSION") else b""
        answer = answered(plugin, os.environ, given, OneCall(), logs=True)
    if answer.remark:
        print(answer.remark, file=sys.stderr)
    sys.stdout.buffer.write(answer.output)
    sys.stdout.flush()
    sys.exit(answer.code)


def _by_flags(plugin: Plugin, words: list[str]) -> Answer | None:
    """What flags ask for; None where there are none, and a call of the protocol is meant."""
    if not words:
        return None
    from pycalico.base import goflags  # noqa: PLC0415 - runtimes give none

    flags = [goflags.Flag("v", "Display version")]
    if plugin.upgrade is not None:
        flags.insert(0, goflags.Flag("upgrade", "Upgrade from host-local"))
    if plugin.test is not None:
        flags.insert(0, goflags.Flag("t", "Test datastore connection"))
    usage = f"Usage of {plugin.title}:\n{goflags.usage(flags)}"
    try:
        switches = goflags.parse(flags, words).switches
    except goflags.Help:
        return Answer(remark=usage)
    except goflags.BadFlag as error:
        return Answer(2, remark=f"{error}\n{usage}")
    if "v" in switches:
        return Answer(output=f"{CALICO_VERSION}\n".encode())
    if "upgrade" in switches and plugin.upgrade is not None:
        return Answer(plugin.upgrade())
    if "t" in switches and plugin.test is not None:
        try:
            config = netconf.parse_config(sys.stdin.buffer.read())
            plugin.test(Invocation(config, Arguments("", "", "", "", ""), {}, os.environ, OneCall()))
        except (CNIError, DatastoreError) as error:
            return _refusal(error)
        return Answer()
    return None


def answered(
    plugin: Plugin,
    environ: Mapping[str, str],
    given: bytes,
    stores: Stores,
    *,
    netns: str = "",
    logs: bool = False,
) -> Answer:
    """One call of the CNI protocol. ``netns`` is another way to the pod's namespace than its path in ``environ``.

    ``logs`` lets the configuration say where this process logs to.
    """
    try:
        return _call(plugin, environ, given, stores, netns, logs=logs)
    except (CNIError, DatastoreError) as error:
        return _refusal(error)
    except Exception as error:
        log.exception("unexpected failure")
        command = environ.get("CNI_COMMAND", "")
        return _refusal(CNIError(f"Calico CNI panicked during {command}: {error}", INTERNAL))


def _call(
    plugin: Plugin, environ: Mapping[str, str], given: bytes, stores: Stores, netns: str, *, logs: bool
) -> Answer:
    command = environ.get("CNI_COMMAND", "")
    if not command:
        # A person ran the plugin by hand: say what it is, on stderr as runtimes read stdout.
        versions = ", ".join(SUPPORTED_VERSIONS)
        return Answer(remark=f"{plugin.about} {CALICO_VERSION}\nCNI protocol versions supported: {versions}")
    if command == "VERSION":
        return _object({"cniVersion": SPEC_VERSION, "supportedVersions": list(SUPPORTED_VERSIONS)})
    arguments = netconf.parse_arguments(environ)
    config = netconf.parse_config(given)
    if logs:
        logfile.configure(config)
    raw = msgspec.json.decode(given)
    if command in ("STATUS", "GC"):
        if config.cniVersion != SPEC_VERSION:
            raise CNIError(f"config version does not allow {command}", 1)
        invocation = Invocation(config, arguments, raw, environ, stores, netns)
        (plugin.status if command == "STATUS" else plugin.collect)(invocation)
        return Answer()
    if command == "CHECK":
        if config.cniVersion < "0.4.0":
            raise CNIError("config version does not allow CHECK", 1)
        return Answer(output=b"OK\n" if plugin.name == "calico" else b"")
    invocation = Invocation(config, arguments, raw, environ, stores, netns)
    if command == "ADD":
        return _object(plugin.add(invocation))
    plugin.delete(invocation)
    return Answer()


def _refusal(error: CNIError | DatastoreError) -> Answer:
    known = error if isinstance(error, CNIError) else CNIError.of(error)
    return _object(known.to_wire(), code=1)


def _object(answer: dict[str, Any], code: int = 0) -> Answer:
    return Answer(code, msgspec.json.format(msgspec.json.encode(answer), indent=4) + b"\n")


def kubernetes(call: Invocation) -> Rest:
    """The API server: the datastore's own connection, or with etcd the one that the conflist names."""
    client = call.client
    return client.rest if isinstance(client, HasRest) else call.stores.kubernetes(call)


def read_pod(rest: Rest, namespace: str, name: str) -> core.Pod:
    return rest.get(path_of("v1", "pods", namespace, name), core.Pod)


def find_pod(rest: Rest, namespace: str, name: str) -> core.Pod | None:
    """None when there is none."""
    try:
        return read_pod(rest, namespace, name)
    except StatusError as error:
        if error.code == _NOT_FOUND:
            return None
        raise


def present_endpoint(pod: core.Pod) -> WorkloadEndpoint | None:
    """The endpoint that the pod is already."""
    try:
        return pod_convert.to_workload_endpoint(pod) if pod_convert.has_endpoint(pod) else None
    except ValueError:
        return None


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
