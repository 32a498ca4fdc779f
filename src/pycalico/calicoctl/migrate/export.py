"""``calicoctl datastore migrate export``: three parts, separated by lines of ``===``."""

from __future__ import annotations

import sys
from typing import Any

from pycalico.api.kinds import KINDS
from pycalico.api.meta import Resource, ResourceList
from pycalico.api.v3.clusterinformation import ClusterInformation
from pycalico.api.v3.felixconfiguration import FelixConfiguration
from pycalico.api.v3.node import Node
from pycalico.calicoctl import connection, lock, output
from pycalico.calicoctl.failure import Failure
from pycalico.calicoctl.migrate import ipamfile
from pycalico.calicoctl.syntax import Arguments
from pycalico.datastore.config import ETCD
from pycalico.datastore.errors import DatastoreError

#: In order; what is named after nodes comes after them, since nodes may get other names.
RESOURCES = (
    "IPPool", "BGPPeer", "GlobalNetworkPolicy", "GlobalNetworkSet", "HostEndpoint",
    "KubeControllersConfiguration", "NetworkPolicy", "NetworkSet", "Node", "BGPConfiguration",
    "FelixConfiguration", "IPReservation", "BGPFilter",
)  # fmt: skip
_KUBERNETES_POLICY = "knp.default."
_OF_NODE = "node."
_ACTIONS = (
    "default_endpoint_to_host_action",
    "iptables_filter_allow_action",
    "iptables_mangle_allow_action",
    "iptables_filter_deny_action",
    "nftables_filter_allow_action",
    "nftables_mangle_allow_action",
    "nftables_filter_deny_action",
)


def run(arguments: Arguments) -> None:
    """Raises Failure when the datastore is not etcd, not locked, or a node has no name in Kubernetes."""
    client = connection.checked(arguments)
    if not lock.is_locked(client):
        raise Failure(
            "Datastore is not locked. Run the `calicoctl datastore migrate lock` command in order to begin migration."
        )
    datastore = connection.config(arguments.text("--config")).datastore_type
    if datastore != ETCD:
        raise Failure(
            f"Invalid datastore type: {datastore} to export from for datastore migration. "
            "Datastore type must be etcdv3"
        )
    nodes: dict[str, str] = {}
    try:
        for kind in RESOURCES:
            found: ResourceList[Any] = client.list(KINDS[kind].type)
            _prepare(kind, found, nodes)
            sys.stdout.write(output.yaml_text(output.plain(found, kind)) + "---\n")
        information = client.get(ClusterInformation, "default")
        sys.stdout.write(f"===\n{output.json_text(output.plain(information, ''))}\n===\n")
        part = ipamfile.pull(client.driver, nodes)
    except DatastoreError as error:
        raise Failure(error) from error
    sys.stdout.write(f"{output.json_text(part)}\n")


def _prepare(kind: str, found: ResourceList[Any], nodes: dict[str, str]) -> None:
    """Leaves out what belongs to this datastore, and Kubernetes' own policies; fills ``nodes``."""
    if kind == "NetworkPolicy":
        found.items = [each for each in found.items if not each.metadata.name.startswith(_KUBERNETES_POLICY)]
    for each in found.items:
        meta = each.metadata
        meta.uid = meta.resource_version = ""
        meta.creation_timestamp = meta.deletion_timestamp = meta.deletion_grace_period_seconds = None
        if isinstance(each, Node):
            nodes[meta.name] = _kubernetes_name(each)
            meta.name = nodes[meta.name]
        elif kind in ("FelixConfiguration", "BGPConfiguration"):
            _rename(each, nodes)
        if isinstance(each, FelixConfiguration):
            _recase(each)


def _kubernetes_name(node: Node) -> str:
    names = [each.node_name for each in node.spec.orch_refs if each.orchestrator == "k8s"]
    if not names or not names[-1]:
        raise Failure(
            "Unable to process metadata for export for Node resource: "
            f"Node {node.metadata.name} missing a 'k8s' orchestrator reference. "
            "Unable to export data unless every node has a 'k8s' orchestrator reference"
        )
    return names[-1]


def _rename(resource: Resource, nodes: dict[str, str]) -> None:
    name = resource.metadata.name
    node = name.removeprefix(_OF_NODE)
    if node != name and node in nodes:
        resource.metadata.name = _OF_NODE + nodes[node]


def _recase(configuration: FelixConfiguration) -> None:
    """Old releases stored actions in capitals (``ACCEPT``), which validation refuses now."""
    for name in _ACTIONS:
        value = getattr(configuration.spec, name)
        if value:
            setattr(configuration.spec, name, value.capitalize())
