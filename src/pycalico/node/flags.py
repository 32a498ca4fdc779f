"""The flags of ``calico-node``, in the form of Go's flag package: ``-x``, ``--x``, ``-x=v``, ``-x v``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from pycalico.base import duration


class Flag(NamedTuple):
    """``kind`` is bool, string or duration; ``default`` is its text."""

    name: str
    help: str
    kind: str = "bool"
    default: str = ""


class BadFlag(Exception):
    """Go's sentence about what is wrong with the command line."""


FLAGS = (
    Flag("allocate-tunnel-addrs", "Configure tunnel addresses for this node"),
    Flag("allocate-tunnel-addrs-run-once", "Run allocate-tunnel-addrs in oneshot mode"),
    Flag("best-effort", "With -init: report errors, but do not fail"),
    Flag("bird-live", "Run bird liveness checks"),
    Flag("bird-ready", "Run BIRD readiness checks"),
    Flag("bird6-live", "Run bird6 liveness checks"),
    Flag("bird6-ready", "Run BIRD6 readiness checks"),
    Flag("bpf", "Run BPF debug tool"),
    Flag("confd", "Run confd"),
    Flag("confd-confdir", "Confd configuration directory.", "string", "/etc/calico/confd"),
    Flag("confd-keep-stage-file", "Keep stage file when running confd"),
    Flag("confd-run-once", "Run confd in oneshot mode"),
    Flag("felix", "Run Felix"),
    Flag("felix-live", "Run felix liveness checks"),
    Flag("felix-ready", "Run felix readiness checks"),
    Flag("hostpath-init", "Initialize hostpaths for non-root access"),
    Flag("init", "Mount what a new node needs (BPF file system, cgroup2); needs privileges"),
    Flag("monitor-addresses", "Monitor change in node IP addresses"),
    Flag("monitor-token", "Keep the CNI plugin's Kubernetes token fresh"),
    Flag("show-status", "Print out node status"),
    Flag("shutdown", "Tell the cluster that this node's networking goes down"),
    Flag("startup", "Register this node and its defaults in the datastore"),
    Flag("status-reporter", "Run node status reporter"),
    Flag("threshold-time", "Threshold time for bird readiness", "duration", "30s"),
    Flag("v", "Display version"),
)
_BY_NAME = {flag.name: flag for flag in FLAGS}
_TRUE = ("1", "t", "T", "TRUE", "true", "True")
_FALSE = ("0", "f", "F", "FALSE", "false", "False")


class Help(Exception):
    """``-h`` or ``-help`` was given."""


class Arguments(NamedTuple):
    """Switches that were set, and the values of the other flags (their defaults where not given)."""

    switches: set[str]
    texts: dict[str, str]

    @property
    def threshold_s(self) -> float:
        return max(0.0, duration.parse_ns(self.texts["threshold-time"]) / 1e9)


def parse(words: Sequence[str]) -> Arguments:
    """Stops at the first word that is no flag, as Go does. Raises BadFlag and Help."""
    found = Arguments(set(), {flag.name: flag.default for flag in FLAGS if flag.kind != "bool"})
    rest = list(words)
    while rest and rest[0].startswith("-") and rest[0] != "-":
        word = rest.pop(0)
        if word == "--":
            break
        name, equals, value = word.removeprefix("-").removeprefix("-").partition("=")
        if name in ("h", "help") and name not in _BY_NAME:
            raise Help
        flag = _BY_NAME.get(name)
        if flag is None:
            raise BadFlag(f"flag provided but not defined: -{name}")
        if flag.kind == "bool":
            if equals and value not in _TRUE + _FALSE:
                raise BadFlag(f'invalid boolean value "{value}" for -{name}: parse error')
            if not equals or value in _TRUE:
                found.switches.add(name)
            else:
                found.switches.discard(name)
            continue
        if not equals:
            if not rest:
                raise BadFlag(f"flag needs an argument: -{name}")
            value = rest.pop(0)
        if flag.kind == "duration":
            try:
                duration.parse_ns(value)
            except duration.DurationError as error:
                raise BadFlag(f'invalid value "{value}" for flag -{name}: parse error') from error
        found.texts[name] = value
    return found


def usage() -> str:
    lines = []
    for flag in FLAGS:
        kind = "" if flag.kind == "bool" else f" {flag.kind}"
        default = f' (default "{flag.default}")' if flag.kind == "string" else ""
        default = f" (default {flag.default})" if flag.kind == "duration" else default
        if len(flag.name) == 1:
            lines.append(f"  -{flag.name}\t{flag.help}{default}")
        else:
            lines += [f"  -{flag.name}{kind}", f"    \t{flag.help}{default}"]
    return "\n".join(lines)
