# Types of what __init__.py loads on first use.
from pycalico.api.manifests import ManifestError as ManifestError
from pycalico.api.meta import ObjectMeta as ObjectMeta
from pycalico.api.meta import Resource as Resource
from pycalico.api.meta import ResourceList as ResourceList
from pycalico.api.rule import (
    EntityRule as EntityRule,
)
from pycalico.api.rule import (
    HTTPMatch as HTTPMatch,
)
from pycalico.api.rule import (
    ICMPFields as ICMPFields,
)
from pycalico.api.rule import (
    Rule as Rule,
)
from pycalico.api.rule import (
    ServiceAccountMatch as ServiceAccountMatch,
)
from pycalico.api.rule import (
    ServiceMatch as ServiceMatch,
)
from pycalico.api.v3.bgpconfiguration import (
    BGPConfiguration as BGPConfiguration,
)
from pycalico.api.v3.bgpconfiguration import (
    BGPConfigurationSpec as BGPConfigurationSpec,
)
from pycalico.api.v3.bgpfilter import BGPFilter as BGPFilter
from pycalico.api.v3.bgpfilter import BGPFilterSpec as BGPFilterSpec
from pycalico.api.v3.bgppeer import BGPPeer as BGPPeer
from pycalico.api.v3.bgppeer import BGPPeerSpec as BGPPeerSpec
from pycalico.api.v3.caliconodestatus import (
    CalicoNodeStatus as CalicoNodeStatus,
)
from pycalico.api.v3.caliconodestatus import (
    CalicoNodeStatusSpec as CalicoNodeStatusSpec,
)
from pycalico.api.v3.clusterinformation import (
    ClusterInformation as ClusterInformation,
)
from pycalico.api.v3.clusterinformation import (
    ClusterInformationSpec as ClusterInformationSpec,
)
from pycalico.api.v3.felixconfiguration import (
    FelixConfiguration as FelixConfiguration,
)
from pycalico.api.v3.felixconfiguration import (
    FelixConfigurationSpec as FelixConfigurationSpec,
)
from pycalico.api.v3.hostendpoint import HostEndpoint as HostEndpoint
from pycalico.api.v3.hostendpoint import HostEndpointSpec as HostEndpointSpec
from pycalico.api.v3.ippool import IPPool as IPPool
from pycalico.api.v3.ippool import IPPoolSpec as IPPoolSpec
from pycalico.api.v3.ipreservation import (
    IPReservation as IPReservation,
)
from pycalico.api.v3.ipreservation import (
    IPReservationSpec as IPReservationSpec,
)
from pycalico.api.v3.kubecontrollersconfiguration import (
    KubeControllersConfiguration as KubeControllersConfiguration,
)
from pycalico.api.v3.kubecontrollersconfiguration import (
    KubeControllersConfigurationSpec as KubeControllersConfigurationSpec,
)
from pycalico.api.v3.networkpolicy import (
    GlobalNetworkPolicy as GlobalNetworkPolicy,
)
from pycalico.api.v3.networkpolicy import (
    GlobalNetworkPolicySpec as GlobalNetworkPolicySpec,
)
from pycalico.api.v3.networkpolicy import (
    NetworkPolicy as NetworkPolicy,
)
from pycalico.api.v3.networkpolicy import (
    NetworkPolicySpec as NetworkPolicySpec,
)
from pycalico.api.v3.networkset import (
    GlobalNetworkSet as GlobalNetworkSet,
)
from pycalico.api.v3.networkset import (
    NetworkSet as NetworkSet,
)
from pycalico.api.v3.networkset import (
    NetworkSetSpec as NetworkSetSpec,
)
from pycalico.api.v3.node import Node as Node
from pycalico.api.v3.node import NodeSpec as NodeSpec
from pycalico.api.v3.profile import Profile as Profile
from pycalico.api.v3.profile import ProfileSpec as ProfileSpec
from pycalico.api.v3.workloadendpoint import (
    WorkloadEndpoint as WorkloadEndpoint,
)
from pycalico.api.v3.workloadendpoint import (
    WorkloadEndpointSpec as WorkloadEndpointSpec,
)
from pycalico.client import Client as Client
from pycalico.client import Watch as Watch
from pycalico.datastore.client import Event as Event
from pycalico.datastore.client import EventType as EventType
from pycalico.datastore.config import DatastoreConfig as DatastoreConfig
from pycalico.datastore.errors import (
    AlreadyExists as AlreadyExists,
)
from pycalico.datastore.errors import (
    Conflict as Conflict,
)
from pycalico.datastore.errors import (
    DatastoreError as DatastoreError,
)
from pycalico.datastore.errors import (
    Invalid as Invalid,
)
from pycalico.datastore.errors import (
    NotFound as NotFound,
)
from pycalico.datastore.errors import (
    NotSupported as NotSupported,
)
from pycalico.datastore.errors import (
    RevisionExpired as RevisionExpired,
)
from pycalico.datastore.errors import (
    Unauthorized as Unauthorized,
)
from pycalico.datastore.errors import (
    Unavailable as Unavailable,
)

__version__: str
CALICO_VERSION: str
