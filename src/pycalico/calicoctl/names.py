"""What each kind may be called on the command line, as calicoctl v3.28.1 accepts it (any letter case)."""

from __future__ import annotations

#: Kinds that the command line and manifests know. ``+`` after a name: its plural in ``s`` as well.
_SPELLINGS = {
    "BGPConfiguration": "bgpconfiguration+ bgpconfig+",
    "BGPFilter": "bgpfilter+ bgpf+ bf+",
    "BGPPeer": "bgppeer+ bgpp+ bp+",
    "ClusterInformation": "clusterinformation+ clusterinfo+",
    "FelixConfiguration": "felixconfiguration+ felixconfig+",
    "GlobalNetworkPolicy": "globalnetworkpolicy globalnetworkpolicies gnp+",
    "GlobalNetworkSet": "globalnetworkset+ gnetsets",
    "HostEndpoint": "hostendpoint+ hep+",
    "IPPool": "ippool+ ipp+ pool+",
    "IPReservation": "ipreservation+ reservation+",
    "KubeControllersConfiguration": "kubecontrollersconfiguration+ kubecontrollersconfig+",
    "NetworkPolicy": "networkpolicy networkpolicies policy policies np pol+",
    "NetworkSet": "networkset+ netsets",
    "Node": "node+ no+",
    "Profile": "profile+ pro+",
    "WorkloadEndpoint": "workloadendpoint+ wep+",
}

KINDS = tuple(_SPELLINGS)

BY_NAME = {
    name: kind
    for kind, spellings in _SPELLINGS.items()
    for spelling in spellings.split()
    for name in ((spelling[:-1], f"{spelling[:-1]}s") if spelling.endswith("+") else (spelling,))
}


def kind_named(text: str) -> str | None:
    return BY_NAME.get(text.lower())
