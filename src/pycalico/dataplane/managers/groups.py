"""Policy groups of endpoints, and their chains for as long as an endpoint uses them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet

from pycalico.calc.messages import PolicyID, PolicyLists
from pycalico.dataplane.managers.plane import Offers, Plane
from pycalico.dataplane.managers.policies import PolicyManager
from pycalico.dataplane.rules.chain import Chain
from pycalico.dataplane.rules.group import PolicyGroup, group, render_group
from pycalico.dataplane.rules.group_native import render_native_group
from pycalico.dataplane.rules.units import Unit

_TABLES = ("raw", "mangle", "filter")


class Groups:
    def __init__(self, plane: Plane, policies: PolicyManager) -> None:
        self._plane = plane
        self._policies = policies
        self._offers = Offers(plane.tables)
        self._users: dict[PolicyGroup, set[str]] = {}
        self._of_user: dict[str, set[PolicyGroup]] = {}
        self._by_chain: dict[str, list[PolicyGroup]] = {}
        """More than one while some endpoints are told of a policy inside a native group and others are not yet; the
        last is what the chain holds."""
        self._unions: dict[str, set[str]] = {}
        """By group's chain."""
        self._fresh: set[str] = set()
        """Chains of groups rendered since `refresh`."""
        self._tiers: dict[str, Sequence[PolicyLists]] = {}
        self._listing: dict[str, set[str]] = {}
        """Users by the names of policies that apply to them."""

    def of(
        self, user: str, tiers: Sequence[PolicyLists], lists: str = "normal"
    ) -> tuple[list[PolicyGroup], list[PolicyGroup]]:
        """(ingress, egress) groups of ``tiers``; what ``user`` had before and does not have now is given up.

        ``lists`` is normal, forward, pre-DNAT or untracked.
        """
        self._list(user, tiers)
        lists = lists if self._plane.context.native else ""
        ingress = [g for tier in tiers for g in self._group(tier, True, tier.ingress, lists)]
        egress = [g for tier in tiers for g in self._group(tier, False, tier.egress, lists)]
        self._hold(user, {g for g in (*ingress, *egress) if g.has_own_chain})
        return ingress, egress

    def release(self, user: str) -> None:
        self._list(user, ())
        self._hold(user, set())

    def users_of(self, policies: Iterable[PolicyID]) -> set[str]:
        """Those that were told to `of` with any of ``policies``."""
        return {user for policy in policies for user in self._listing.get(policy.name, ())}

    def _list(self, user: str, tiers: Sequence[PolicyLists]) -> None:
        before, now = _names(self._tiers.pop(user, ())), _names(tiers)
        for name in now - before:
            self._listing.setdefault(name, set()).add(user)
        for name in before - now:
            self._listing[name].discard(user)
            if not self._listing[name]:
                del self._listing[name]
        if tiers:
            self._tiers[user] = tiers

    def refresh(self, changed: AbstractSet[PolicyID]) -> None:
        """Native groups hold the rules of their policies, of which ``changed`` are others now."""
        for policy in changed:
            users = self._listing.get(policy.name, ())
            for item in {item for user in users for item in self._of_user.get(user, ())}:
                concerned = item.lists and item.tier == policy.tier and policy.name in item.policies
                if concerned and item.chain_name not in self._fresh and self._holds(item):
                    self._render(item)
        self._fresh = set()

    def _group(self, tier: PolicyLists, inbound: bool, names: Sequence[str], lists: str) -> list[PolicyGroup]:
        return group(tier.tier, inbound, names, self._policies.selectors(tier.tier), lists)

    def _hold(self, user: str, groups: set[PolicyGroup]) -> None:
        before = self._of_user.get(user, set())
        for item in groups - before:
            users = self._users.setdefault(item, set())
            if not users:
                self._by_chain.setdefault(item.chain_name, []).append(item)
                self._render(item)
            users.add(user)
        for item in before - groups:
            self._users[item].discard(user)
            if not self._users[item]:
                del self._users[item]
                self._drop(item)
        if groups:
            self._of_user[user] = groups
        else:
            self._of_user.pop(user, None)

    def _drop(self, item: PolicyGroup) -> None:
        held, groups = self._holds(item), self._by_chain[item.chain_name]
        groups.remove(item)
        if not groups:
            del self._by_chain[item.chain_name]
            self._put(item.chain_name, (), {})
        elif held:
            self._render(groups[-1])

    def _holds(self, item: PolicyGroup) -> bool:
        """Whether the chain of that name is this group's."""
        return self._by_chain[item.chain_name][-1] == item

    def _render(self, item: PolicyGroup) -> None:
        context = self._plane.context
        if not item.lists:
            self._put(item.chain_name, (render_group(context, item),), {})
            return

        units, side = self._policies.units(item.tier), 0 if item.inbound else 1

        def units_of(name: str) -> Sequence[Unit]:
            found = units.get(name)
            return found[side] if found else ()

        self._fresh.add(item.chain_name)
        rendered = render_native_group(context, item, units_of)
        self._put(item.chain_name, rendered.chains, rendered.unions)

    def _put(self, name: str, chains: Sequence[Chain], unions: Mapping[str, Sequence[str]]) -> None:
        if self._plane.unions:
            for union, set_ids in unions.items():
                self._plane.unions.unite(union, set_ids)
        for table in _TABLES:
            self._offers.put(f"group {name}", table, chains)
        if self._plane.unions:
            for union in self._unions.pop(name, set()) - unions.keys():
                self._plane.unions.disband(union)
            if unions:
                self._unions[name] = set(unions)


def _names(tiers: Iterable[PolicyLists]) -> set[str]:
    return {name for tier in tiers for names in (tier.ingress, tier.egress) for name in names}
