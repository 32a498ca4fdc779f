from __future__ import annotations

import msgspec

from pycalico.api.meta import Resource, kind_field
from pycalico.api.v3.bgppeer import BGPPassword
from pycalico.api.wire import Struct


class ServiceIPBlock(Struct):
    cidr: str = ""


class Community(Struct):
    name: str = ""
    value: str = ""


class PrefixAdvertisement(Struct):
    cidr: str = ""
    communities: list[str] = []


class BGPConfigurationSpec(Struct):
    """Cluster-wide in the object ``default``, for one node in ``node.<name>``. Durations are Go strings."""

    log_severity_screen: str = ""
    node_to_node_mesh_enabled: bool | None = None
    as_number: int | str | None = None
    service_load_balancer_ips: list[ServiceIPBlock] = []
    service_external_ips: list[ServiceIPBlock] = []
    service_cluster_ips: list[ServiceIPBlock] = []
    communities: list[Community] = []
    prefix_advertisements: list[PrefixAdvertisement] = []
    listen_port: int = 0
    node_mesh_password: BGPPassword | None = None
    node_mesh_max_restart_time: str | None = None
    bind_mode: str | None = None
    ignored_interfaces: list[str] = []


class BGPConfiguration(Resource):
    kind: str = kind_field("BGPConfiguration")
    spec: BGPConfigurationSpec = msgspec.field(default_factory=BGPConfigurationSpec)
