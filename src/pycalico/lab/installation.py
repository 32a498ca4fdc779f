"""The objects the lab installs, from the YAML files beside this module."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from string import Template

import yaml

from pycalico.lab import plan, plugins
from pycalico.lab.cluster import Object

_OWN = Path(__file__).with_name("manifests")
#: Further plugins of a usual node: type → configuration. Only those on the machine go into the list.
_MORE = {
    "portmap": '{"type": "portmap", "snat": true, "capabilities": {"portMappings": true}}',
    "bandwidth": '{"type": "bandwidth", "capabilities": {"bandwidth": true}}',
}


def missing_plugins() -> list[str]:
    return [kind for kind in _MORE if not _present(kind)]


def objects(*, ipip: bool, probe_period_s: int, directory: Path | None = None) -> Iterator[Object]:
    """In the order in which they are to be created. ``directory`` replaces the lab's own files."""
    more = "".join(f",\n        {conf}" for kind, conf in _MORE.items() if _present(kind))
    values = {
        "pod_cidr": plan.POD_CIDR,
        "block_size": str(plan.BLOCK_SIZE),
        "ipip_mode": "Always" if ipip else "Never",
        "vxlan_mode": "Never" if ipip else "Always",
        "iptables_backend": _iptables_backend(),
        "probe_period_s": str(probe_period_s),
        "more_plugins": more,
    }
    for path in sorted((directory or _OWN).glob("*.yaml")):
        for document in yaml.safe_load_all(Template(path.read_text()).substitute(values)):
            if document:
                yield document


def _present(kind: str) -> bool:
    return shutil.which(kind, path=plugins.BIN_DIRS) is not None


def _iptables_backend() -> str:
    """The variant that the machine's ``iptables`` is: the one a person at a node looks with."""
    shown = subprocess.run(["iptables", "--version"], capture_output=True, text=True, check=False)
    return "Legacy" if "legacy" in shown.stdout else "NFT"
