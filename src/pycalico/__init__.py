"""Project Calico for Kubernetes networking and network policy, in Python.

Rooms are stacked, and each imports only from the storeys below it (docs/architecture.md draws them):
base, reconcile and kernel, api, datastore, calc / ipam / syncer, dataplane / bgp, the applications, lab.

For scripts: `Client`, the kinds of projectcalico.org/v3 and the errors, as docs/python.md shows. They are loaded when
they are first used, since every program of a node imports this module (``__init__.pyi`` has their types).
"""

__version__ = "0.1.0"

#: The Calico release whose formats, names and messages this package speaks.
CALICO_VERSION = "v3.28.1"

_PLACES = {
    "client": "Client Watch",
    "datastore.client": "Event EventType",
    "datastore.config": "DatastoreConfig",
    "datastore.errors": "AlreadyExists Conflict DatastoreError Invalid NotFound NotSupported RevisionExpired "
    "Unauthorized Unavailable",
    "api.manifests": "ManifestError",
    "api.meta": "ObjectMeta Resource ResourceList",
    "api.rule": "EntityRule HTTPMatch ICMPFields Rule ServiceAccountMatch ServiceMatch",
    "api.v3.bgpconfiguration": "BGPConfiguration BGPConfigurationSpec",
    "api.v3.bgpfilter": "BGPFilter BGPFilterSpec",
    "api.v3.bgppeer": "BGPPeer BGPPeerSpec",
    "api.v3.caliconodestatus": "CalicoNodeStatus CalicoNodeStatusSpec",
    "api.v3.clusterinformation": "ClusterInformation ClusterInformationSpec",
    "api.v3.felixconfiguration": "FelixConfiguration FelixConfigurationSpec",
    "api.v3.hostendpoint": "HostEndpoint HostEndpointSpec",
    "api.v3.ippool": "IPPool IPPoolSpec",
    "api.v3.ipreservation": "IPReservation IPReservationSpec",
    "api.v3.kubecontrollersconfiguration": "KubeControllersConfiguration KubeControllersConfigurationSpec",
    "api.v3.networkpolicy": "GlobalNetworkPolicy GlobalNetworkPolicySpec NetworkPolicy NetworkPolicySpec",
    "api.v3.networkset": "GlobalNetworkSet NetworkSet NetworkSetSpec",
    "api.v3.node": "Node NodeSpec",
    "api.v3.profile": "Profile ProfileSpec",
    "api.v3.workloadendpoint": "WorkloadEndpoint WorkloadEndpointSpec",
}
_PLACE = {name: place for place, names in _PLACES.items() for name in names.split()}

__all__ = ["CALICO_VERSION", "__version__", *_PLACE]  # noqa: PLE0604 (all are text)


def __getattr__(name: str) -> object:
    if name not in _PLACE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib  # noqa: PLC0415 (for those who ask)

    found: object = getattr(importlib.import_module(f"{__name__}.{_PLACE[name]}"), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *_PLACE})
