"""What is looked at when starting only: where it is another now, the process has to start again, as upstream's does."""

from __future__ import annotations

from pycalico.dataplane import mtu
from pycalico.dataplane.assembly import Assembly
from pycalico.dataplane.config import DataplaneConfig
from pycalico.dataplane.drivers.nft import features
from pycalico.kernel.interfaces import Interfaces
from pycalico.kernel.netlink import Link

_INTERVAL_S = 30.0
_IPVS_DEVICE = "kube-ipvs0"


class RestartNeeded(Exception):
    """Something that is only looked at when starting is another now; the process should start again. One line."""


class HostWatch:
    """The host's MTU, kube-proxy's IPVS device and kube-proxy's kind of rules."""

    def __init__(self, config: DataplaneConfig, interfaces: Interfaces, now_s: float) -> None:
        self._config = config
        self._interfaces = interfaces
        self.mtu = mtu.host_mtu(self._links(), config.mtu_interface_pattern)
        # A link that flaps is given time to settle.
        self._next_s = now_s + _INTERVAL_S

    def check(self, assembly: Assembly, now_s: float) -> None:
        """Every 30 s. Raises RestartNeeded."""
        if now_s < self._next_s:
            return
        self._next_s = now_s + _INTERVAL_S
        if (self._interfaces.get(_IPVS_DEVICE) is not None) != self._config.kube_ipvs:
            raise RestartNeeded(f"{_IPVS_DEVICE} {'went' if self._config.kube_ipvs else 'appeared'}")
        if self._config.nftables_mode == "Auto" and not assembly.note:
            native = features.kube_proxy_uses_nftables(tuple(plane.family for plane in assembly.planes))
            if native != bool(assembly.natives):
                raise RestartNeeded(f"kube-proxy {'uses' if native else 'no longer uses'} nftables")
        now_mtu = mtu.smallest(self._links(), self._config.mtu_interface_pattern)
        if now_mtu not in {None, self.mtu}:
            raise RestartNeeded(f"the host's MTU changed from {self.mtu} to {now_mtu}")

    def _links(self) -> list[Link]:
        found = (self._interfaces.get(name) for name in self._interfaces.names())
        return [interface.link for interface in found if interface]
