"""What the environment says. It is read once, at the start, and is checked as a whole.

Names, defaults and texts are upstream's (observed): operators grep for them.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from pycalico.base.duration import parse_seconds

#: Controllers as ENABLED_CONTROLLERS names them, to their section in KubeControllersConfiguration.
CONTROLLERS: Mapping[str, str] = {
    "node": "node",
    "policy": "policy",
    "workloadendpoint": "workload_endpoint",
    "serviceaccount": "service_account",
    "namespace": "namespace",
    "profile": "namespace",
}
#: logrus' levels, as it shows them in a status.
_LEVELS: Mapping[str, str] = {
    "panic": "Panic",
    "fatal": "Fatal",
    "error": "Error",
    "warn": "Warning",
    "warning": "Warning",
    "info": "Info",
    "debug": "Debug",
    "trace": "Trace",
}
_TRUE = ("1", "t", "T", "TRUE", "true", "True")
_FALSE = ("0", "f", "F", "FALSE", "false", "False")
_SHOWN = (
    "LOG_LEVEL",
    "RECONCILER_PERIOD",
    "ENABLED_CONTROLLERS",
    "COMPACTION_PERIOD",
    "HEALTH_ENABLED",
    "SYNC_NODE_LABELS",
    "AUTO_HOST_ENDPOINTS",
)


class BadEnvironment(Exception):
    """The program cannot start like this; the message is one line for a person."""


class Environment(msgspec.Struct):
    """None means: not set, the configuration object decides. ``shown`` is what the status repeats."""

    shown: dict[str, str] = {}
    enabled: tuple[str, ...] | None = None
    log_level: str | None = None
    reconciler_period_s: float | None = None
    compaction_period_s: float | None = None
    health: bool | None = None
    sync_labels: bool | None = None
    auto_host_endpoints: bool | None = None
    workload_endpoint_workers: int = 1
    profile_workers: int = 1
    policy_workers: int = 1
    #: Ours, beyond upstream's.
    leader_election: bool | None = None
    gc_dry_run: bool = False


def parse_environment(environ: Mapping[str, str]) -> Environment:
    """Raises BadEnvironment."""
    found = Environment(shown={name: environ[name] for name in _SHOWN if name in environ})
    for name, text in found.shown.items():
        match name:
            case "LOG_LEVEL":
                found.log_level = log_level(text)
                _check(name, text, valid=found.log_level is not None)
            case "ENABLED_CONTROLLERS":
                found.enabled = _enabled(text)
            case "RECONCILER_PERIOD":
                found.reconciler_period_s = _duration(name, text)
            case "COMPACTION_PERIOD":
                found.compaction_period_s = _duration(name, text)
            case "HEALTH_ENABLED":
                found.health = _boolean(name, text)
            case "SYNC_NODE_LABELS":
                found.sync_labels = _boolean(name, text)
            case "AUTO_HOST_ENDPOINTS":
                _check(name, text, valid=text.lower() in ("enabled", "disabled"))
                found.auto_host_endpoints = text.lower() == "enabled"
    found.workload_endpoint_workers = _workers(environ, "WORKLOAD_ENDPOINT_WORKERS")
    found.profile_workers = _workers(environ, "PROFILE_WORKERS")
    found.policy_workers = _workers(environ, "POLICY_WORKERS")
    _workers(environ, "NODE_WORKERS")
    if "LEADER_ELECTION" in environ:
        found.leader_election = _boolean("LEADER_ELECTION", environ["LEADER_ELECTION"])
    found.gc_dry_run = _boolean("IPAM_GC_DRY_RUN", environ.get("IPAM_GC_DRY_RUN", "false"))
    return found


def log_level(text: str) -> str | None:
    """The level in the form of a status, or None when there is no such level."""
    return _LEVELS.get(text.lower())


def _enabled(text: str) -> tuple[str, ...]:
    words = text.split(",")
    if "flannelmigration" in words:
        if len(words) > 1:
            raise BadEnvironment("flannelmigration must be the only controller running")
        raise BadEnvironment("flannelmigration is not part of this build: migrate with upstream's controller")
    for word in words:
        if word not in CONTROLLERS:
            raise BadEnvironment(f"Invalid controller '{word}' provided.")
    return tuple(dict.fromkeys(CONTROLLERS[word] for word in words))


def _check(name: str, text: str, *, valid: bool) -> None:
    if not valid:
        raise BadEnvironment(f'invalid environment variable value {name}="{text}"')


def _duration(name: str, text: str) -> float:
    try:
        return parse_seconds(text)
    except ValueError:
        _check(name, text, valid=False)
        raise


def _boolean(name: str, text: str) -> bool:
    _check(name, text, valid=text in _TRUE + _FALSE)
    return text in _TRUE


def _workers(environ: Mapping[str, str], name: str) -> int:
    text = environ.get(name, "1")
    _check(name, text, valid=text.isdecimal() and int(text) > 0)
    return int(text)
