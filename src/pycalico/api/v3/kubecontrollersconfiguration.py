from __future__ import annotations

import msgspec

from pycalico.api.meta import Resource, kind_field
from pycalico.api.wire import Struct


class AutoHostEndpointConfig(Struct):
    auto_create: str = ""


class ControllerConfig(Struct):
    reconciler_period: str | None = None


class NodeControllerConfig(Struct):
    reconciler_period: str | None = None
    sync_labels: str = ""
    host_endpoint: AutoHostEndpointConfig | None = None
    leak_grace_period: str | None = None


class ControllersConfig(Struct):
    node: NodeControllerConfig | None = None
    policy: ControllerConfig | None = None
    workload_endpoint: ControllerConfig | None = None
    service_account: ControllerConfig | None = None
    namespace: ControllerConfig | None = None


class KubeControllersConfigurationSpec(Struct):
    """Durations are Go strings (``5m0s``)."""

    log_severity_screen: str = ""
    health_checks: str = ""
    etcd_v3_compaction_period: str | None = None
    prometheus_metrics_port: int | None = None
    controllers: ControllersConfig = msgspec.field(default_factory=ControllersConfig)
    debug_profile_port: int | None = None


class KubeControllersConfigurationStatus(Struct):
    running_config: KubeControllersConfigurationSpec = msgspec.field(
        default_factory=KubeControllersConfigurationSpec
    )
    environment_vars: dict[str, str] = {}


class KubeControllersConfiguration(Resource):
    kind: str = kind_field("KubeControllersConfiguration")
    spec: KubeControllersConfigurationSpec = msgspec.field(default_factory=KubeControllersConfigurationSpec)
    status: KubeControllersConfigurationStatus = msgspec.field(
        default_factory=KubeControllersConfigurationStatus
    )
