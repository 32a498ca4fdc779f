"""``calico-node``: one action per flag. Exit codes and lines are Calico v3.28.1's (observed)."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from typing import NamedTuple

from pycalico import CALICO_VERSION
from pycalico.base import duration, goflags, lean, title
from pycalico.base.goflags import Arguments
from pycalico.node.flags import FLAGS

_HEALTH = ("felix-live", "bird-live", "bird6-live", "felix-ready", "bird-ready", "bird6-ready")
#: Does what it does in children, and itself needs nothing.
_WAITING = "pycalico.node.waiting"
_EXCLUSIVE = ("v", "felix", "startup", "confd", "monitor-addresses")


class Action(NamedTuple):
    """``target`` is imported only when the flag is given; ``keywords`` gives its arguments."""

    target: str
    keywords: Callable[[Arguments], dict[str, object]] = lambda _: {}


#: In upstream's order of precedence.
ACTIONS: dict[str, Action] = {
    "felix": Action("pycalico.felix.main:run", lambda _: {"config_file": "/etc/calico/felix.cfg"}),
    "bpf": Action("pycalico.node.main:no_bpf"),
    "init": Action("pycalico.node.mounts:init", lambda a: {"best_effort": "best-effort" in a.switches}),
    "hostpath-init": Action("pycalico.node.mounts:hostpath_init"),
    "startup": Action("pycalico.node.startup:run"),
    "shutdown": Action("pycalico.node.shutdown:run"),
    "monitor-addresses": Action("pycalico.node.waiting:monitor_addresses"),
    "confd": Action(
        "pycalico.confd.main:run",
        lambda a: {
            "directory": a.texts["confd-confdir"],
            "once": "confd-run-once" in a.switches,
            "keep_stage": "confd-keep-stage-file" in a.switches,
        },
    ),
    "allocate-tunnel-addrs": Action(
        "pycalico.node.tunnels:run", lambda a: {"once": "allocate-tunnel-addrs-run-once" in a.switches}
    ),
    "monitor-token": Action("pycalico.node.waiting:monitor_token"),
    "status-reporter": Action("pycalico.node.reporter:run"),
    "show-status": Action("pycalico.node.status:show"),
}


def _threshold_s(arguments: Arguments) -> float:
    return max(0.0, duration.parse_ns(arguments.texts["threshold-time"]) / 1e9)


def main() -> None:
    sys.exit(run(sys.argv[1:]))


def run(words: list[str]) -> int:
    try:
        arguments = goflags.parse(FLAGS, words)
    except goflags.Help:
        print(f"Usage of Calico:\n{goflags.usage(FLAGS)}", file=sys.stderr)
        print("flag: help requested")
        return 1
    except goflags.BadFlag as error:
        print(f"{error}\nUsage of Calico:\n{goflags.usage(FLAGS)}", file=sys.stderr)
        print(error)
        return 1
    switches = arguments.switches
    if len(switches.intersection(_EXCLUSIVE)) > 1:
        print("More than one incompatible argument provided")
        return 1
    if switches.intersection(_HEALTH):
        from pycalico.node import health  # noqa: PLC0415 - services need it not

        return health.run(switches.intersection(_HEALTH), _threshold_s(arguments))
    if "v" in switches:
        print(CALICO_VERSION)
        return 0
    for name, action in ACTIONS.items():
        if name in switches:
            title.become("calico-node", words)
            module, _, function = action.target.partition(":")
            if module != _WAITING:
                lean.load()
            target = getattr(importlib.import_module(module), function)
            try:
                return int(target(**action.keywords(arguments)) or 0)
            except KeyboardInterrupt:
                return 130
    print(f"No valid options provided. Usage:\n{goflags.usage(FLAGS)}")
    return 1


def no_bpf() -> int:
    print("The BPF dataplane is not part of this build: use the iptables dataplane", file=sys.stderr)
    return 1
