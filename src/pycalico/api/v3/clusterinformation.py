from __future__ import annotations

import msgspec

from pycalico.api.meta import Resource, kind_field
from pycalico.api.wire import Struct


class ClusterInformationSpec(Struct):
    """``cluster_type`` is a comma list such as ``k8s,bgp,kubeadm,kdd``; ``datastore_ready`` false locks writers out."""

    cluster_guid: str = ""
    cluster_type: str = ""
    calico_version: str = ""
    datastore_ready: bool | None = None
    variant: str = ""


class ClusterInformation(Resource):
    kind: str = kind_field("ClusterInformation")
    spec: ClusterInformationSpec = msgspec.field(default_factory=ClusterInformationSpec)
