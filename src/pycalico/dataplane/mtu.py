"""MTUs of tunnels and pods, from the host's links."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterable
from pathlib import Path

from pycalico.dataplane.config import DataplaneConfig
from pycalico.dataplane.managers.plane import MTUs
from pycalico.kernel.netlink import Link

log = logging.getLogger(__name__)

#: When no link matches: the smallest MTU among common clouds.
_FALLBACK = 1460
_OVERHEAD = {"ipip": 20, "vxlan": 50, "vxlan_v6": 70, "wireguard": 60, "wireguard_v6": 80}
#: Azure's hosts encapsulate once more, and WireGuard forbids to fragment.
_AZURE = 100


def smallest(links: Iterable[Link], pattern: str) -> int | None:
    """The smallest MTU of the links that are up and match; None when none does."""
    expression = re.compile(pattern)
    return min((link.mtu for link in links if link.up and expression.search(link.name)), default=None)


def host_mtu(links: Iterable[Link], pattern: str) -> int:
    """The smallest of the links that are up and match; 1460 when none does."""
    found = smallest(links, pattern)
    if found is None:
        log.warning(
            "no link that is up matches mtuIfacePattern %s: taking %d as the host's MTU", pattern, _FALLBACK
        )
        return _FALLBACK
    return found


def decide(config: DataplaneConfig, host: int) -> MTUs:
    """Configured values, else the host's less the overhead; pods get the smallest of the tunnels in use."""
    ipip = config.ipip_mtu or host - _OVERHEAD["ipip"]
    vxlan = config.vxlan_mtu or host - _OVERHEAD["vxlan"]
    vxlan_v6 = config.vxlan_mtu_v6 or host - _OVERHEAD["vxlan_v6"]
    below = host - (_AZURE if config.azure and config.wireguard_host_encryption else 0)
    wireguard = config.wireguard_mtu or below - _OVERHEAD["wireguard"]
    wireguard_v6 = config.wireguard_mtu_v6 or below - _OVERHEAD["wireguard_v6"]
    used = [
        mtu
        for mtu, on in (
            (ipip, config.ipip),
            (vxlan, config.vxlan),
            (vxlan_v6, config.vxlan_v6),
            (wireguard, config.wireguard),
            (wireguard_v6, config.wireguard_v6),
        )
        if on
    ]
    return MTUs(ipip, vxlan, vxlan_v6, wireguard, wireguard_v6, min(used, default=host))


def write_file(path: str, mtu: int) -> None:
    """Whole or not at all, for CNI to read. A failure is logged: pods then get CNI's default."""
    target = Path(path)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        fresh = target.with_name(f".{target.name}.{os.getpid()}")
        fresh.write_text(str(mtu))
        fresh.replace(target)
    except OSError as error:
        log.warning("cannot write %s, pods may get a wrong MTU: %s", path, error.strerror)
