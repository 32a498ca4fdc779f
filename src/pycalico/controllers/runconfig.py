"""What runs, and how: the environment over KubeControllersConfiguration, field by field. Pure.

The second half of ``merge``'s answer is the object's status, in which an operator reads what came of both.
"""

from __future__ import annotations

import logging

import msgspec

from pycalico.api.meta import ObjectMeta
from pycalico.api.v3.kubecontrollersconfiguration import (
    AutoHostEndpointConfig,
    ControllerConfig,
    ControllersConfig,
    KubeControllersConfiguration,
    KubeControllersConfigurationSpec,
    KubeControllersConfigurationStatus,
    NodeControllerConfig,
)
from pycalico.base.duration import parse_seconds, render_seconds
from pycalico.controllers.environment import Environment, log_level

log = logging.getLogger(__name__)

NAME = "default"
METRICS_PORT = 9094
_ENABLED, _DISABLED = "Enabled", "Disabled"
_PERIOD_S = 300.0
_COMPACTION_S = 600.0
_GRACE_S = 900.0
#: Sections of the controllers that mirror a cache.
MIRRORS = ("policy", "workload_endpoint", "service_account", "namespace")


class NodeConfig(msgspec.Struct, frozen=True):
    """``leak_grace_s`` None or 0: nothing is released on living nodes."""

    auto_host_endpoints: bool = False
    sync_labels: bool = False
    delete_nodes: bool = False
    leak_grace_s: float | None = None
    gc_dry_run: bool = False


class MirrorConfig(msgspec.Struct, frozen=True):
    """``reconciler_period_s`` 0: no periodic comparison."""

    reconciler_period_s: float = 0.0
    workers: int = 1


class RunConfig(msgspec.Struct, frozen=True):
    """Two equal ones run alike: only a difference is worth a restart."""

    log_level: str
    health: bool
    compaction_period_s: float
    metrics_port: int
    node: NodeConfig | None
    mirrors: dict[str, MirrorConfig]


def default_configuration() -> KubeControllersConfiguration:
    """What is created when there is none."""
    period = render_seconds(_PERIOD_S)
    return KubeControllersConfiguration(
        metadata=ObjectMeta(name=NAME),
        spec=KubeControllersConfigurationSpec(
            log_severity_screen="Info",
            health_checks=_ENABLED,
            etcd_v3_compaction_period=render_seconds(_COMPACTION_S),
            prometheus_metrics_port=METRICS_PORT,
            controllers=ControllersConfig(
                node=NodeControllerConfig(
                    reconciler_period=period,
                    sync_labels=_ENABLED,
                    leak_grace_period=render_seconds(_GRACE_S),
                ),
                **{section: ControllerConfig(reconciler_period=period) for section in MIRRORS},
            ),
        ),
    )


def merge(
    environment: Environment, spec: KubeControllersConfigurationSpec, *, kdd: bool
) -> tuple[RunConfig, KubeControllersConfigurationStatus]:
    """A value in ``spec`` that makes no sense is reported and replaced by its default."""
    shown = dict(environment.shown)
    if kdd:
        shown.pop("SYNC_NODE_LABELS", None)
    sections = ControllersConfig()
    enabled = environment.enabled
    if enabled is None:
        every = ("node", *MIRRORS)
        enabled = tuple(name for name in every if getattr(spec.controllers, name) is not None)

    node = None
    if "node" in enabled:
        node = _node(environment, spec.controllers.node, kdd=kdd)
        if kdd:
            shown["DATASTORE_TYPE"] = "kubernetes"
        sections.node = NodeControllerConfig(
            sync_labels=_switch(node.sync_labels),
            host_endpoint=AutoHostEndpointConfig(auto_create=_switch(node.auto_host_endpoints)),
            leak_grace_period=None if node.leak_grace_s is None else render_seconds(node.leak_grace_s),
        )
    elif "SYNC_NODE_LABELS" in shown or "AUTO_HOST_ENDPOINTS" in shown:
        shown = {k: v for k, v in shown.items() if k not in ("SYNC_NODE_LABELS", "AUTO_HOST_ENDPOINTS")}

    mirrors: dict[str, MirrorConfig] = {}
    for name in MIRRORS:
        if name in enabled:
            mirrors[name], section = _mirror(environment, name, getattr(spec.controllers, name))
            setattr(sections, name, section)

    level = environment.log_level or log_level(spec.log_severity_screen)
    if level is None:
        log.warning('unknown log level, using Info LOG_LEVEL="%s"', spec.log_severity_screen)
        level = "Info"
    health = environment.health if environment.health is not None else spec.health_checks != _DISABLED
    compaction_s = environment.compaction_period_s
    if compaction_s is None:
        compaction_s = _seconds("etcdV3CompactionPeriod", spec.etcd_v3_compaction_period, _COMPACTION_S)
    port = spec.prometheus_metrics_port
    config = RunConfig(
        log_level=level,
        health=health,
        compaction_period_s=compaction_s,
        metrics_port=METRICS_PORT if port is None else port,
        node=node,
        mirrors=mirrors,
    )
    running = KubeControllersConfigurationSpec(
        log_severity_screen=level,
        health_checks=_switch(health),
        etcd_v3_compaction_period=render_seconds(compaction_s),
        controllers=sections,
    )
    return config, KubeControllersConfigurationStatus(running_config=running, environment_vars=shown)


def _node(environment: Environment, section: NodeControllerConfig | None, *, kdd: bool) -> NodeConfig:
    automatic = environment.auto_host_endpoints
    if automatic is None:
        wanted = section.host_endpoint if section else None
        automatic = wanted is not None and wanted.auto_create == _ENABLED
    labels = environment.sync_labels
    if labels is None:
        labels = section is None or section.sync_labels != _DISABLED
    grace = section.leak_grace_period if section else None
    return NodeConfig(
        auto_host_endpoints=automatic,
        # With the Kubernetes datastore both sides are one object.
        sync_labels=labels and not kdd,
        delete_nodes=not kdd,
        leak_grace_s=None if grace is None else _seconds("leakGracePeriod", grace, _GRACE_S),
        gc_dry_run=environment.gc_dry_run,
    )


def _mirror(
    environment: Environment, name: str, section: ControllerConfig | None
) -> tuple[MirrorConfig, ControllerConfig]:
    period_s, shown = 0.0, None
    if section is not None:
        period_s = _seconds(f"{name} reconcilerPeriod", section.reconciler_period, _PERIOD_S)
        shown = None if section.reconciler_period is None else render_seconds(period_s)
    if environment.reconciler_period_s is not None:
        period_s = environment.reconciler_period_s
        shown = render_seconds(period_s)
    workers = {
        "policy": environment.policy_workers,
        "workload_endpoint": environment.workload_endpoint_workers,
    }
    return (
        MirrorConfig(reconciler_period_s=period_s, workers=workers.get(name, environment.profile_workers)),
        ControllerConfig(reconciler_period=shown),
    )


def _seconds(name: str, text: str | None, default_s: float) -> float:
    if text is None:
        return default_s
    try:
        return parse_seconds(text)
    except ValueError as error:
        log.warning("KubeControllersConfiguration %s: %s; using %s", name, error, render_seconds(default_s))
        return default_s


def _switch(on: bool) -> str:
    return _ENABLED if on else _DISABLED
