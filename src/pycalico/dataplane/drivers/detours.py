"""A routing table beside the main one, and the rule that sends packets there first."""

from __future__ import annotations

import errno
from collections.abc import Mapping
from collections.abc import Set as AbstractSet

from pycalico.kernel import netlink, routerequests, rtnetlink
from pycalico.kernel.interfaces import Interfaces
from pycalico.kernel.netlink import THROW, UNICAST, NetlinkError, Route, Rule
from pycalico.reconcile.target import Outcome, TargetError

#: In place of a device's name: the packet goes on to the next rule, in the end to the main table.
BACK = "throw"

_LINK_SCOPE = 253
_V6_METRIC = 1024
_LOOPBACK = 1


class TableRoutes:
    """A reconcile target: keys are destinations (CIDRs), values BACK or a device's name.

    Ours in the table are routes to ``device`` and, with ``protocol``, those back; what else is there stays.
    """

    def __init__(self, family: int, table: int, device: str, protocol: int, interfaces: Interfaces) -> None:
        self._family = family
        self._table = table
        self._device = device
        self._protocol = protocol
        self._interfaces = interfaces
        self._seen: dict[str, tuple[Route, ...]] = {}

    def read(self) -> Mapping[str, tuple[Route, ...]]:
        try:
            found = netlink.routes_of(self._family, self._table)
        except NetlinkError as error:
            raise TargetError(
                f"cannot read IPv{self._family} routes of table {self._table}: {error}"
            ) from None
        seen: dict[str, tuple[Route, ...]] = {}
        for route in found:
            if self._is_ours(route):
                seen[route.dst] = (*seen.get(route.dst, ()), route)
        self._seen = seen
        return dict(seen)

    def _is_ours(self, route: Route) -> bool:
        if route.type == THROW:
            return route.protocol == self._protocol
        return bool(route.oif) and self._interfaces.name_of(route.oif) == self._device

    def same(self, want: str, have: tuple[Route, ...]) -> bool:
        return len(have) == 1 and _alike(self._build(have[0].dst, want), have[0])

    def apply(self, puts: Mapping[str, str], deletes: AbstractSet[str]) -> Outcome[str, tuple[Route, ...]]:
        now: dict[str, tuple[Route, ...]] = {}
        failures: dict[str, str] = {}
        for dst in deletes:
            try:
                self._remove(self._seen.get(dst, ()))
                self._seen.pop(dst, None)
            except OSError as error:
                failures[dst] = error.strerror or str(error)
        for dst, want in puts.items():
            try:
                now[dst] = self._seen[dst] = (self._put(dst, want),)
            except OSError as error:
                failures[dst] = error.strerror or str(error)
        return Outcome(now, failures)

    def _put(self, dst: str, want: str) -> Route:
        if want != BACK and not self._interfaces.index_of(want):
            raise OSError(0, f"interface {want} is absent")
        route = self._build(dst, want)
        # Replacing takes one of another kind away only with IPv4.
        others = [other for other in self._seen.get(dst, ()) if not _alike(route, other)]
        if self._family == 6:
            self._remove(others)
        rtnetlink.do(routerequests.replace_route(route, self._table))
        return route

    def _remove(self, routes: tuple[Route, ...] | list[Route]) -> None:
        for route in routes:
            rtnetlink.do(routerequests.delete_route(route, self._table), routerequests.NO_ROUTE)

    def _build(self, dst: str, want: str) -> Route:
        v4 = self._family == 4
        back = want == BACK
        return Route(
            dst,
            self._interfaces.index_of(want) if not back else 0 if v4 else _LOOPBACK,
            "",
            self._protocol,
            _LINK_SCOPE if v4 and not back else 0,
            THROW if back else UNICAST,
            0 if v4 else _V6_METRIC,
            "",
            False,
            0,
        )


def _alike(want: Route, have: Route) -> bool:
    return (want.oif, want.type, want.protocol, want.gateway) == (
        have.oif,
        have.type,
        have.protocol,
        have.gateway,
    )


class DetourRules:
    """A reconcile target: keys are rules into one table for all packets but those with a mark."""

    def __init__(self, family: int, table: int) -> None:
        self._family = family
        self._table = table

    def read(self) -> Mapping[Rule, bool]:
        try:
            found = netlink.rules(self._family)
        except NetlinkError as error:
            raise TargetError(f"cannot read IPv{self._family} rules: {error}") from None
        return {rule: True for rule in found if rule.table == self._table and rule.negated and rule.mask}

    def same(self, want: bool, have: bool) -> bool:
        return want == have

    def apply(self, puts: Mapping[Rule, bool], deletes: AbstractSet[Rule]) -> Outcome[Rule, bool]:
        failures: dict[Rule, str] = {}
        for write, fine, rules in (
            (routerequests.add_rule, (errno.EEXIST,), puts.keys()),
            (routerequests.delete_rule, (errno.ENOENT,), deletes),
        ):
            for rule in rules:
                try:
                    rtnetlink.do(write(self._family, rule), fine)
                except OSError as error:
                    failures[rule] = error.strerror or str(error)
        return Outcome({rule: True for rule in puts if rule not in failures}, failures)
