"""Routes of one family in the main table: to workloads, to other nodes' blocks, blackholes of our own blocks."""

from __future__ import annotations

import errno
import logging
import re
import time
from collections.abc import Callable, Iterable, Mapping
from collections.abc import Set as AbstractSet
from contextlib import suppress

import msgspec

from pycalico.base.distribution import Distribution
from pycalico.dataplane.drivers.conntrack import ConntrackCleaner
from pycalico.kernel import netlink, routerequests, rtnetlink
from pycalico.kernel.interfaces import Interfaces
from pycalico.kernel.netlink import BLACKHOLE, UNICAST, NetlinkError, Route
from pycalico.kernel.requests import Request
from pycalico.reconcile.target import Outcome, TargetError

log = logging.getLogger(__name__)

BOOT = 3
CLUSTER = 80
_LINK_SCOPE = 253
_V6_METRIC = 1024
_LINK_LOCAL = "fe80::/64"

Seen = tuple[Route, ...]


class WantedRoute(msgspec.Struct, frozen=True):
    """A route to ``interface`` (empty: a blackhole). ``mtu`` 0: the link's own."""

    interface: str
    protocol: int
    gateway: str = ""
    onlink: bool = False
    source: str = ""
    mtu: int = 0


class Ownership(msgspec.Struct, frozen=True):
    """Which routes are ours. ``own_devices``: names of our tunnels."""

    workload_prefixes: tuple[str, ...]
    own_devices: tuple[str, ...]
    route_protocol: int
    cluster_protocol: int
    remove_external: bool
    grace_s: float


class Routes:
    """A reconcile target whose keys are destinations (CIDRs) and whose values are all our routes to one.

    Set ``wanted`` to what is wished, so that routes on fresh links are left to CNI for a while.
    """

    def __init__(
        self, family: int, interfaces: Interfaces, owns: Ownership, cleaner: ConntrackCleaner
    ) -> None:
        self.family = family
        self.wanted: Callable[[str], bool] = lambda _: False
        self._interfaces = interfaces
        self._owns = owns
        self._cleaner = cleaner
        self._workload = re.compile("^(" + "|".join(map(re.escape, owns.workload_prefixes)) + ")")
        self._first_seen: dict[int, float] = {}
        self._seen: dict[str, Seen] = {}
        #: Seconds that reading all routes, and writing a batch of them, took.
        self.listings = Distribution()
        self.writings = Distribution()

    # ---- ownership

    def is_workload(self, interface: str) -> bool:
        return bool(self._workload.match(interface))

    def is_ours(self, route: Route) -> bool:
        interface = self._interfaces.name_of(route.oif) if route.oif else ""
        if interface and self.is_workload(interface):
            if route.dst == _LINK_LOCAL or route.dst.startswith("ff"):
                return False
            return self._owns.remove_external or route.protocol == self._owns.route_protocol
        if interface in self._owns.own_devices and interface:
            if route.dst == _LINK_LOCAL:
                return False
            if not interface.startswith("vxlan"):
                return route.protocol == self._owns.cluster_protocol
            # With IPv6 the kernel makes one for the tunnel's own address, which upstream takes away, too.
            return self._owns.remove_external or route.protocol in {self._owns.route_protocol, CLUSTER}
        if self._owns.cluster_protocol == CLUSTER:
            return route.protocol == CLUSTER
        return route.protocol == self._owns.cluster_protocol and (route.type == BLACKHOLE or route.onlink)

    def is_fresh(self, index: int) -> bool:
        """Seen for the first time so recently that CNI may still be ahead of us."""
        if not index or not self.is_workload(self._interfaces.name_of(index)):
            return False
        first = self._first_seen.setdefault(index, time.monotonic())
        return time.monotonic() - first < self._owns.grace_s

    def forget(self, route: Route) -> None:
        """The kernel said that it is gone."""
        self._seen[route.dst] = tuple(item for item in self._seen.get(route.dst, ()) if item != route)

    # ---- target

    def read(self) -> Mapping[str, Seen]:
        began_s = time.monotonic()
        try:
            found = netlink.routes(self.family)
        except NetlinkError as error:
            raise TargetError(f"cannot read IPv{self.family} routes: {error}") from None
        self.listings.add(time.monotonic() - began_s)
        seen: dict[str, Seen] = {}
        for route in found:
            if self.is_ours(route):
                if self.is_fresh(route.oif) and not self.wanted(route.dst):
                    continue
                seen[route.dst] = (*seen.get(route.dst, ()), route)
        self._seen = seen
        return dict(seen)

    def same(self, want: WantedRoute, have: Seen) -> bool:
        index = self._interfaces.index_of(want.interface) if want.interface else 0
        return len(have) == 1 and _as_wished(self._build(have[0].dst, want, index), have[0])

    def apply(self, puts: Mapping[str, WantedRoute], deletes: AbstractSet[str]) -> Outcome[str, Seen]:
        began_s = time.monotonic()
        now: dict[str, Seen] = {}
        failures: dict[str, str] = {}
        for dst in deletes:
            reason = self._delete(self._seen.get(dst, ()))
            if reason:
                failures[dst] = reason
            else:
                self._seen.pop(dst, None)
        done = self._add({dst: want for dst, want in puts.items() if not self._seen.get(dst)})
        for dst, want in puts.items():
            try:
                now[dst] = self._seen[dst] = (done.get(dst) or self._put(dst, want),)
            except OSError as error:
                failures[dst] = error.strerror or str(error)
        self.writings.add(time.monotonic() - began_s)
        return Outcome(now, failures)

    def _add(self, puts: Mapping[str, WantedRoute]) -> dict[str, Route]:
        """Tries all at once and gives those that could be; why the others could not, `_put` finds out."""
        routes: dict[str, Route] = {}
        for dst, want in puts.items():
            with suppress(OSError):
                routes[dst] = self._build(dst, want, self._usable(want.interface) if want.interface else 0)
                self._cleaner.wait(dst)
        codes = rtnetlink.run([self._request(route) for route in routes.values()])
        return {dst: route for (dst, route), code in zip(routes.items(), codes, strict=True) if not code}

    def _request(self, route: Route) -> Request:
        """What is ours by its protocol takes the place of another; where CNI was faster, or somebody else, nothing does."""
        cluster = route.protocol == self._owns.cluster_protocol
        return routerequests.replace_route(route) if cluster else routerequests.add_route(route)

    def _put(self, dst: str, want: WantedRoute) -> Route:
        index = self._usable(want.interface) if want.interface else 0
        route = self._build(dst, want, index)
        have = self._seen.get(dst, ())
        for other in have:
            if other.oif != index and self._is_whole_address(dst):
                # The address moves: connections of the old holder must not live on.
                self._cleaner.start(dst)
        self._cleaner.wait(dst)
        known = next((other for other in have if _as_wished(route, other)), None)
        if known is None:
            try:
                self._write(route, replace=bool(have))
            except OSError as error:
                if error.errno != errno.EINVAL or self.family == 4 or not have:
                    raise
                # The gateway of a VXLAN route lies within its destination, and the kernel looks it up through the
                # old route, on another device: that one must go first.
                for other in have:
                    rtnetlink.do(routerequests.delete_route(other), routerequests.NO_ROUTE)
                self._write(route, replace=False)
                have = ()
        for other in have:
            if other is not known and (other.oif, other.priority) != (route.oif, route.priority):
                rtnetlink.do(routerequests.delete_route(other), routerequests.NO_ROUTE)
        return known or route

    def _write(self, route: Route, replace: bool) -> None:
        if replace:
            rtnetlink.do(routerequests.replace_route(route))
            return
        try:
            rtnetlink.do(self._request(route))
        except OSError as error:
            if error.errno != errno.EEXIST:
                raise
            there = [other for other in netlink.routes(self.family) if other.dst == route.dst]
            if any(_as_wished(route, other) for other in there):
                return
            if not any(self.is_ours(other) for other in there):
                raise OSError(errno.EEXIST, "another route to the same place exists") from None
            rtnetlink.do(routerequests.replace_route(route))

    def _usable(self, interface: str) -> int:
        found = self._interfaces.get(interface)
        if found is None:
            raise OSError(errno.ENODEV, f"interface {interface} is absent")
        if not found.link.admin_up:
            raise OSError(errno.ENETDOWN, f"interface {interface} is down")
        return found.link.index

    def _build(self, dst: str, want: WantedRoute, index: int) -> Route:
        v4 = self.family == 4
        direct = bool(want.interface) and not want.gateway
        return Route(
            dst,
            # The kernel shows an IPv6 blackhole on the loopback interface.
            index or (0 if v4 else 1),
            want.gateway,
            want.protocol,
            _LINK_SCOPE if direct and v4 else 0,
            UNICAST if want.interface else BLACKHOLE,
            0 if v4 else _V6_METRIC,
            want.source,
            want.onlink,
            want.mtu,
        )

    def _is_whole_address(self, dst: str) -> bool:
        return dst.endswith("/32" if self.family == 4 else "/128")

    def _delete(self, routes: Iterable[Route]) -> str:
        for route in routes:
            try:
                rtnetlink.do(routerequests.delete_route(route), routerequests.NO_ROUTE)
            except OSError as error:
                return error.strerror or str(error)
            if self._is_whole_address(route.dst) and self.is_workload(self._interfaces.name_of(route.oif)):
                self._cleaner.start(route.dst)
        return ""


def _as_wished(want: Route, have: Route) -> bool:
    """The kernel may add a preferred source of its own to an IPv6 route's listing: it counts when wished only."""
    return (
        want.oif == have.oif
        and want.gateway == have.gateway
        and want.protocol == have.protocol
        and want.scope == have.scope
        and want.type == have.type
        and want.priority == have.priority
        and want.onlink == have.onlink
        and want.mtu == have.mtu
        and want.source == have.source
    )
