"""Policy groups of endpoints, and their chains for as long as an endpoint uses them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet

from pycalico.calc.messages import PolicyID, PolicyLists
from pycalico.dataplane.managers.plane import Offers, Plane
from pycalico.dataplane.managers.policies import PolicyManager
from pycalico.dataplane.rules.group import PolicyGroup, PortKeys, group, render_group

_TABLES = ("raw", "mangle", "filter")


class Groups:
    def __init__(self, plane: Plane, policies: PolicyManager) -> None:
        self._plane = plane
        self._policies = policies
        self._offers = Offers(plane.tables)
        self._users: dict[PolicyGroup, set[str]] = {}
        self._of_user: dict[str, set[PolicyGroup]] = {}
        self._by_chain: dict[str, PolicyGroup] = {}

    def of(
        self, user: str, tiers: Sequence[PolicyLists], lists: str = "normal"
    ) -> tuple[list[PolicyGroup], list[PolicyGroup]]:
        """(ingress, egress) groups of ``tiers``; what ``user`` had before and does not have now is given up.

        ``lists`` is normal, forward, pre-DNAT or untracked.
        """
        lists = lists if self._plane.context.native else ""
        ingress = [g for tier in tiers for g in self._group(tier, True, tier.ingress, lists)]
        egress = [g for tier in tiers for g in self._group(tier, False, tier.egress, lists)]
        self._hold(user, {g for g in (*ingress, *egress) if g.has_own_chain})
        return ingress, egress

    def release(self, user: str) -> None:
        self._hold(user, set())

    def _group(self, tier: PolicyLists, inbound: bool, names: Sequence[str], lists: str) -> list[PolicyGroup]:
        def selector_of(name: str) -> str:
            return self._policies.selector_of(tier.tier, name)

        def keys_of(name: str) -> PortKeys | None:
            return self._policies.keys_of(tier.tier, name, inbound)

        return group(tier.tier, inbound, names, selector_of, lists, keys_of if lists else None)

    def _hold(self, user: str, groups: set[PolicyGroup]) -> None:
        before = self._of_user.get(user, set())
        for item in groups - before:
            users = self._users.setdefault(item, set())
            if not users:
                self._by_chain[item.chain_name] = item
                chains = render_group(self._plane.context, item)
                for table in _TABLES:
                    self._offers.put(f"group {item.chain_name}", table, chains)
            users.add(user)
        for item in before - groups:
            self._users[item].discard(user)
            if not self._users[item]:
                del self._users[item]
                # Perhaps a group that holds one policy more goes on under the name.
                if self._by_chain[item.chain_name] == item:
                    del self._by_chain[item.chain_name]
                    for table in _TABLES:
                        self._offers.put(f"group {item.chain_name}", table, ())
        if groups:
            self._of_user[user] = groups
        else:
            self._of_user.pop(user, None)


def lists_any(tiers: Iterable[PolicyLists], policies: AbstractSet[PolicyID]) -> bool:
    """Whether any of ``policies`` applies to the endpoint with these tiers."""
    return any(
        policy.tier == tier.tier and (policy.name in tier.ingress or policy.name in tier.egress)
        for tier in tiers
        for policy in policies
    )
