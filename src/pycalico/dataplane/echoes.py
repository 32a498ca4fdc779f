"""What others did to the kernel, as the kernel tells it: which targets are to be read again."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, cast

from pycalico.dataplane.assembly import Assembly
from pycalico.dataplane.config import DataplaneConfig
from pycalico.kernel.interfaces import Interfaces
from pycalico.kernel.netlink import Route

if TYPE_CHECKING:
    from pycalico.dataplane.drivers.iptables import Table
    from pycalico.dataplane.drivers.routes import Routes
    from pycalico.dataplane.inbox import TableChanges

log = logging.getLogger(__name__)

_GRACE_MORE_S = 0.1
_NEVER = float("inf")


class Echoes:
    """Of our own writes there are echoes, too: these make no work."""

    def __init__(
        self, config: DataplaneConfig, assembly: Assembly, interfaces: Interfaces, now_s: float
    ) -> None:
        self._prefixes = config.interface_prefixes
        self._grace_s = config.route_grace_s
        self._assembly = assembly
        self._interfaces = interfaces
        #: Workloads' links, and when the grace of each is over.
        self._fresh_until: dict[str, float] = {}
        for name in interfaces.names():
            self._note_fresh(name, now_s)

    def gap(self) -> None:
        """The kernel told less than there was."""
        for reconciler in (*self._assembly.routes.values(), *self._assembly.links):
            reconciler.resync()

    def interfaces(self, names: set[str], now_s: float) -> None:
        """Links came, went or changed: the kernel drops a link's routes, neighbours and settings with it."""
        for name in names:
            self._note_fresh(name, now_s)
        if any(name.startswith(self._prefixes) for name in names):
            for reconciler in (*self._assembly.routes.values(), *self._assembly.links[1:]):
                reconciler.resync()
        if any(not name.startswith(self._prefixes) for name in names):
            self.gap()

    def route(self, route: Route, present: bool) -> None:
        """Somebody (perhaps we) changed a route: only one that is ours and not as wished makes work."""
        reconciler = self._assembly.routes.get(6 if ":" in route.dst else 4)
        if reconciler is None:
            return
        target = cast("Routes", reconciler.target)
        known: tuple[Route, ...] = reconciler.delta.actual.get(route.dst, ())
        if not present:
            if route in known:
                left = tuple(item for item in known if item != route)
                target.forget(route)
                reconciler.confirm(route.dst, left or None)
        elif route not in known and target.is_ours(route):
            wanted = route.dst in reconciler.delta.wanted
            if wanted or not target.is_fresh(route.oif):
                reconciler.resync()

    def tables(self, changes: TableChanges) -> None:
        for reconciler in self._assembly.tables:
            table = cast("Table", reconciler.target)
            for (family, name, pid), program in changes.items():
                if (family, name) == (table.programs.family, table.name) and pid not in table.writers:
                    by = f"{program} ({pid})" if program else "somebody"
                    log.info("%s was changed by %s: looking at it", reconciler.label, by)
                    reconciler.resync()

    def check_fresh(self, now_s: float) -> None:
        """Routes that nobody wished on a fresh link are looked at again when its grace is over."""
        over = [name for name, until_s in self._fresh_until.items() if until_s <= now_s]
        if over:
            for reconciler in self._assembly.routes.values():
                reconciler.resync()
            for name in over:
                self._fresh_until[name] = _NEVER

    def _note_fresh(self, name: str, now_s: float) -> None:
        if name.startswith(self._prefixes):
            if self._interfaces.get(name) is None:
                self._fresh_until.pop(name, None)
            else:
                self._fresh_until.setdefault(name, now_s + self._grace_s + _GRACE_MORE_S)
