"""Which managers run: a table of rows, each with its condition and its maker."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from pycalico.dataplane.config import DataplaneConfig
from pycalico.dataplane.managers.cluster_routes import ClusterRouteManager
from pycalico.dataplane.managers.endpoints import EndpointManager
from pycalico.dataplane.managers.ipip import IPIPManager
from pycalico.dataplane.managers.plane import Manager, Plane
from pycalico.dataplane.managers.policies import PolicyManager
from pycalico.dataplane.managers.services import FloatingIPManager, ServiceLoopManager
from pycalico.dataplane.managers.sets import PolicySetManager, PoolManager, ThisHostManager
from pycalico.dataplane.managers.static import hang_static_chains
from pycalico.dataplane.managers.vxlan import VXLANManager
from pycalico.dataplane.managers.wireguard import WireguardManager


class Row(msgspec.Struct, frozen=True):
    """``wanted`` is asked once for each family."""

    make: Callable[[Plane], Manager]
    wanted: Callable[[DataplaneConfig, int], bool] = lambda _config, _family: True


ROWS = (
    Row(PolicySetManager),
    Row(PoolManager),
    Row(ThisHostManager),
    Row(ServiceLoopManager),
    Row(FloatingIPManager),
    Row(IPIPManager, lambda config, family: config.ipip and family == 4),
    Row(VXLANManager, lambda config, family: config.vxlan if family == 4 else config.vxlan_v6),
    Row(ClusterRouteManager, lambda config, _: config.program_cluster_routes),
)


def make_managers(plane: Plane, *, encrypts: bool) -> list[Manager]:
    """All managers of one family; those of policies come before those of endpoints, which refer to them.

    ``encrypts``: there is a WireGuard to be had.
    """
    hang_static_chains(plane)
    config = plane.context.config
    policies = PolicyManager(plane)
    managers: list[Manager] = [policies, EndpointManager(plane, policies)]
    managers += [row.make(plane) for row in ROWS if row.wanted(config, plane.family)]
    if encrypts and (config.wireguard if plane.family == 4 else config.wireguard_v6):
        managers.append(WireguardManager(plane))
    return managers
