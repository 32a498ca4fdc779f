"""The objects the lab installs, from the YAML files beside this module."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator
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
#: The variables of a DaemonSet that are changed on a kernel without IPIP.
_WITHOUT_IPIP = {"CALICO_IPV4POOL_IPIP": "Never", "CALICO_IPV4POOL_VXLAN": "Always"}
#: One of those plugins in a list, with the comma before it.
_PLUGIN = re.compile(rf',\s*{{\s*"type": "({"|".join(_MORE)})"[^{{}}]*({{[^{{}}]*}})?[^{{}}]*}}')


def missing_plugins() -> list[str]:
    return [kind for kind in _MORE if not _present(kind)]


def objects(*, ipip: bool, probe_period_s: int, directory: Path | None = None) -> Iterator[Object]:
    """In the order in which they are to be created. ``directory`` replaces the lab's own files.

    Those are the lab's templates, filled in for this machine. Files of another directory are taken as they are, but for
    the encapsulation where the kernel lacks IPIP and for the plugins that are not on the machine.
    """
    if directory is not None:
        for item in _documents(path.read_text() for path in sorted(directory.glob("*.yaml"))):
            yield _fitted(item, ipip=ipip)
        return
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
    yield from _documents(
        Template(path.read_text()).substitute(values) for path in sorted(_OWN.glob("*.yaml"))
    )


def _documents(texts: Iterable[str]) -> Iterator[Object]:
    for text in texts:
        yield from filter(None, yaml.load_all(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader)))


def _fitted(item: Object, *, ipip: bool) -> Object:
    """An object of a real cluster's manifest on this machine."""
    if item["kind"] == "DaemonSet" and not ipip:
        for container in item["spec"]["template"]["spec"]["containers"]:
            for variable in container.get("env") or []:
                variable["value"] = _WITHOUT_IPIP.get(variable["name"], variable.get("value"))
                if variable["value"] is None:
                    del variable["value"]
    if item["kind"] == "ConfigMap" and "cni_network_config" in (item.get("data") or {}):
        text = _PLUGIN.sub(
            lambda found: found[0] if _present(found[1]) else "", item["data"]["cni_network_config"]
        )
        item["data"]["cni_network_config"] = text
    return item


def _present(kind: str) -> bool:
    return shutil.which(kind, path=plugins.BIN_DIRS) is not None


def _iptables_backend() -> str:
    """The variant that the machine's ``iptables`` is: the one a person at a node looks with."""
    shown = subprocess.run(["iptables", "--version"], capture_output=True, text=True, check=False)
    return "Legacy" if "legacy" in shown.stdout else "NFT"
