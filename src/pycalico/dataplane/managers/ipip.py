"""IPIP: the tunnel's link and who may send us such packets."""

from __future__ import annotations

from pycalico.calc.messages import HostMetadataRemove, HostMetadataUpdate
from pycalico.dataplane.drivers import tunnels
from pycalico.dataplane.managers.plane import Handlers, Plane
from pycalico.dataplane.rules import name


class IPIPManager:
    """IPv4 only."""

    def __init__(self, plane: Plane) -> None:
        self._plane = plane
        self._hosts: dict[str, str] = {}
        self._dirty = True
        address = plane.context.config.ipip_tunnel_address
        plane.tunnels.want(tunnels.IPIP, tunnels.Tunnel(plane.mtus.ipip, address))

    @property
    def handlers(self) -> Handlers:
        return {HostMetadataUpdate: self._on_update, HostMetadataRemove: self._on_remove}

    def _on_update(self, update: HostMetadataUpdate) -> None:
        if self._hosts.get(update.hostname, "") == update.ipv4_address:
            return
        self._dirty = True
        if update.ipv4_address:
            self._hosts[update.hostname] = update.ipv4_address
        else:
            del self._hosts[update.hostname]

    def _on_remove(self, remove: HostMetadataRemove) -> None:
        self._dirty |= self._hosts.pop(remove.hostname, None) is not None

    def resolve(self) -> None:
        if self._dirty:
            self._dirty = False
            external = self._plane.context.config.external_node_cidrs
            self._plane.sets.replace(name.ALL_HOSTS, "hash:net", (*self._hosts.values(), *external))
