"""Policies and profiles: their chains, and the selectors by which endpoints group them."""

from __future__ import annotations

from collections.abc import Mapping

from pycalico.calc.messages import PolicyID, PolicyRemove, PolicyUpdate, ProfileRemove, ProfileUpdate
from pycalico.dataplane.managers.plane import Handlers, Offers, Plane
from pycalico.dataplane.rules.chain import Chain
from pycalico.dataplane.rules.policy import render_policy, render_profile
from pycalico.dataplane.rules.units import Unit, policy_chains, render_policy_units


class PolicyManager:
    """Policy chains are offered to all tables that may refer to them; only those that do program them."""

    def __init__(self, plane: Plane) -> None:
        self._plane = plane
        self._offers = Offers(plane.tables)
        self._selectors: dict[str, dict[str, str]] = {}
        self._units: dict[str, dict[str, tuple[tuple[Unit, ...], tuple[Unit, ...]]]] = {}
        self.regrouped: set[PolicyID] = set()
        """Policies of another selector; who takes note empties this, as well as ``changed``."""
        self.changed: set[PolicyID] = set()
        """In native rendering, policies of other rules."""

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

    def selectors(self, tier: str) -> Mapping[str, str]:
        """By name."""
        return self._selectors.get(tier, {})

    def units(self, tier: str) -> Mapping[str, tuple[tuple[Unit, ...], tuple[Unit, ...]]]:
        """The policies' inbound and outbound rules in native rendering, by name."""
        return self._units.get(tier, {})

    def _on_policy(self, update: PolicyUpdate) -> None:
        selectors = self._selectors.setdefault(update.id.tier, {})
        if selectors.get(update.id.name) != update.original_selector:
            selectors[update.id.name] = update.original_selector
            self.regrouped.add(update.id)
        chains = self._chains(update)
        for table in ("raw", "mangle", "filter"):
            self._offers.put(f"policy {update.id.tier} {update.id.name}", table, chains)

    def _chains(self, update: PolicyUpdate) -> tuple[Chain, Chain]:
        if not self._plane.context.native:
            return render_policy(self._plane.context, update)
        units = render_policy_units(self._plane.context, update)
        held = self._units.setdefault(update.id.tier, {})
        if held.get(update.id.name) != units:
            held[update.id.name] = units
            self.changed.add(update.id)
        return policy_chains(update.id.name, *units)

    def _on_policy_remove(self, remove: PolicyRemove) -> None:
        self._selectors.get(remove.id.tier, {}).pop(remove.id.name, None)
        if self._units.get(remove.id.tier, {}).pop(remove.id.name, None):
            self.changed.add(remove.id)
        for table in ("raw", "mangle", "filter"):
            self._offers.put(f"policy {remove.id.tier} {remove.id.name}", table, ())

    def _on_profile(self, update: ProfileUpdate) -> None:
        inbound, outbound = render_profile(self._plane.context, update)
        self._offers.put(f"profile {update.name}", "filter", (inbound, outbound))
        self._offers.put(f"profile {update.name}", "mangle", (outbound,))

    def _on_profile_remove(self, remove: ProfileRemove) -> None:
        self._offers.put(f"profile {remove.name}", "filter", ())
        self._offers.put(f"profile {remove.name}", "mangle", ())
