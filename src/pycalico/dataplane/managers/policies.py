"""Policies and profiles: their chains, and the selectors by which endpoints group them."""

from __future__ import annotations

from pycalico.calc.messages import PolicyID, PolicyRemove, PolicyUpdate, ProfileRemove, ProfileUpdate
from pycalico.dataplane.managers.plane import Handlers, Offers, Plane
from pycalico.dataplane.rules.group import PortKeys, port_keys
from pycalico.dataplane.rules.policy import render_policy, render_profile


class PolicyManager:
    """Policy chains are offered to all tables that may refer to them; only those that do program them."""

    def __init__(self, plane: Plane) -> None:
        self._plane = plane
        self._offers = Offers(plane.tables)
        self._selectors: dict[PolicyID, str] = {}
        self._keys: dict[PolicyID, tuple[PortKeys | None, PortKeys | None]] = {}
        self.regrouped: set[PolicyID] = set()

    @property
    def handlers(self) -> Handlers:
        return {
            PolicyUpdate: self._on_policy,
            PolicyRemove: self._on_policy_remove,
            ProfileUpdate: self._on_profile,
            ProfileRemove: self._on_profile_remove,
        }

    def resolve(self) -> None:
        """Nothing is left to do."""

    def selector_of(self, tier: str, name: str) -> str:
        return self._selectors.get(PolicyID(tier, name), "")

    def keys_of(self, tier: str, name: str, inbound: bool) -> PortKeys | None:
        """The protocols and ports that the policy concerns; None: it may concern all."""
        return self._keys.get(PolicyID(tier, name), (None, None))[0 if inbound else 1]

    def _on_policy(self, update: PolicyUpdate) -> None:
        if self._selectors.get(update.id) != update.original_selector:
            self._selectors[update.id] = update.original_selector
            self.regrouped.add(update.id)
        keys = (port_keys(update.inbound), port_keys(update.outbound)) if self._plane.context.native else None
        if keys is not None and self._keys.get(update.id) != keys:
            self._keys[update.id] = keys
            self.regrouped.add(update.id)
        chains = render_policy(self._plane.context, update)
        for table in ("raw", "mangle", "filter"):
            self._offers.put(f"policy {update.id.tier} {update.id.name}", table, chains)

    def _on_policy_remove(self, remove: PolicyRemove) -> None:
        self._selectors.pop(remove.id, None)
        self._keys.pop(remove.id, None)
        for table in ("raw", "mangle", "filter"):
            self._offers.put(f"policy {remove.id.tier} {remove.id.name}", table, ())

    def _on_profile(self, update: ProfileUpdate) -> None:
        inbound, outbound = render_profile(self._plane.context, update)
        self._offers.put(f"profile {update.name}", "filter", (inbound, outbound))
        self._offers.put(f"profile {update.name}", "mangle", (outbound,))

    def _on_profile_remove(self, remove: ProfileRemove) -> None:
        self._offers.put(f"profile {remove.name}", "filter", ())
        self._offers.put(f"profile {remove.name}", "mangle", ())
