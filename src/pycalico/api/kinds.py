"""The table of kinds: what each is called on the wire and where each datastore keeps it.

Facts: shared by all drivers and by calicoctl. The classes are imported on first use, so that a program
which touches one kind pays for one.
"""

from __future__ import annotations

import importlib

import msgspec

from pycalico.api.meta import Resource


class Kind(msgspec.Struct, frozen=True):
    """``plural`` is the path segment in etcd and the CRD's name; ``crd`` is false for kinds that Kubernetes derives."""

    name: str
    module: str
    plural: str
    namespaced: bool = False
    crd: bool = True

    @property
    def type(self) -> type[Resource]:
        found: type[Resource] = getattr(importlib.import_module(f"pycalico.api.v3.{self.module}"), self.name)
        return found


KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind("BGPConfiguration", "bgpconfiguration", "bgpconfigurations"),
        Kind("BGPFilter", "bgpfilter", "bgpfilters"),
        Kind("BGPPeer", "bgppeer", "bgppeers"),
        Kind("BlockAffinity", "ipam", "blockaffinities"),
        Kind("CalicoNodeStatus", "caliconodestatus", "caliconodestatuses"),
        Kind("ClusterInformation", "clusterinformation", "clusterinformations"),
        Kind("FelixConfiguration", "felixconfiguration", "felixconfigurations"),
        Kind("GlobalNetworkPolicy", "networkpolicy", "globalnetworkpolicies"),
        Kind("GlobalNetworkSet", "networkset", "globalnetworksets"),
        Kind("HostEndpoint", "hostendpoint", "hostendpoints"),
        Kind("IPAMBlock", "ipam", "ipamblocks"),
        Kind("IPAMConfig", "ipam", "ipamconfigs"),
        Kind("IPAMHandle", "ipam", "ipamhandles"),
        Kind("IPPool", "ippool", "ippools"),
        Kind("IPReservation", "ipreservation", "ipreservations"),
        Kind("KubeControllersConfiguration", "kubecontrollersconfiguration", "kubecontrollersconfigurations"),
        Kind("NetworkPolicy", "networkpolicy", "networkpolicies", namespaced=True),
        Kind("NetworkSet", "networkset", "networksets", namespaced=True),
        Kind("Node", "node", "nodes", crd=False),
        Kind("Profile", "profile", "profiles", crd=False),
        Kind("WorkloadEndpoint", "workloadendpoint", "workloadendpoints", namespaced=True, crd=False),
        Kind(
            "KubernetesNetworkPolicy",
            "networkpolicy",
            "kubernetesnetworkpolicies",
            namespaced=True,
            crd=False,
        ),
        Kind("KubernetesService", "kubernetes", "kubernetesservice", namespaced=True, crd=False),
        Kind("KubernetesEndpointSlice", "kubernetes", "kubernetesendpointslices", namespaced=True, crd=False),
    )
}


def kind_of(resource_type: type[Resource]) -> Kind:
    return KINDS[resource_type.__name__]
