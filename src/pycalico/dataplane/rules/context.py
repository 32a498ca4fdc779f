"""What every rendering needs: configuration, marks, the family and what iptables and the kernel can do."""

from __future__ import annotations

import msgspec

from pycalico.dataplane.config import DataplaneConfig
from pycalico.dataplane.rules import action, name
from pycalico.dataplane.rules.marks import Marks


class RuleContext(msgspec.Struct, frozen=True):
    config: DataplaneConfig
    marks: Marks
    family: int
    snat_fully_random: bool = True
    masquerade_fully_random: bool = True
    native: bool = False
    """For nf_tables itself: a rule may hold many nets and ports, and a map dispatches."""

    @property
    def deny(self) -> str:
        return action.named(self.config.filter_deny_action)

    @property
    def deny_word(self) -> str:
        """As it stands in comments: Drop or Reject."""
        return self.config.filter_deny_action.capitalize()

    @property
    def filter_allow(self) -> str:
        return action.named(self.config.filter_allow_action)

    @property
    def mangle_allow(self) -> str:
        return action.named(self.config.mangle_allow_action)

    @property
    def workload_patterns(self) -> tuple[str, ...]:
        return tuple(f"{prefix}+" for prefix in self.config.interface_prefixes)

    def set_name(self, set_id: str) -> str:
        return name.set_name(self.family, set_id)

    def is_of_family(self, address: str) -> bool:
        return (":" in address) == (self.family == 6)
