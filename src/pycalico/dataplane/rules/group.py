"""Groups of consecutive policies that select the same endpoints: evaluated together, in a chain of their own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import groupby

import msgspec

from pycalico.dataplane.rules import action, match, name
from pycalico.dataplane.rules.chain import Chain
from pycalico.dataplane.rules.context import RuleContext
from pycalico.dataplane.rules.policy import policy_chain_name

#: After so many jumps a return spares the rest.
_STRIDE = 5


class PolicyGroup(msgspec.Struct, frozen=True, cache_hash=True):
    """``lists``: which of an endpoint's lists it is of, in native rendering; empty for iptables.

    An endpoint that a selector matches has all policies of that selector, so the first and the last of a group tell
    which are between. A native group is named by them: with one policy more inside, one rule is new, and no endpoint's
    chain changes. Upstream's name in iptables is made of all.
    """

    tier: str
    inbound: bool
    selector: str
    policies: tuple[str, ...]
    lists: str = ""

    @property
    def has_own_chain(self) -> bool:
        return len(self.policies) > 1

    @property
    def chain_name(self) -> str:
        """Where an endpoint jumps to: the only policy's chain, or the group's own."""
        if not self.has_own_chain:
            return policy_chain_name(self.inbound, self.policies[0])
        told = (self.lists, self.policies[0], self.policies[-1]) if self.lists else self.policies
        uid = name.group_uid(self.tier, self.selector, self.inbound, told)
        return (name.GROUP_IN if self.inbound else name.GROUP_OUT) + uid


def group(
    tier: str,
    inbound: bool,
    policies: Iterable[str],
    selectors: Mapping[str, str],
    lists: str = "",
) -> list[PolicyGroup]:
    """``selectors`` by policy; one that is not known yet has none."""
    return [
        PolicyGroup(tier, inbound, selector or "", tuple(run), lists)
        for selector, run in groupby(policies, selectors.get)
    ]


def render_group(context: RuleContext, given: PolicyGroup) -> Chain:
    """For iptables: a jump for each policy."""
    verdicts = context.marks.accept | context.marks.passed
    rules = []
    for index, policy in enumerate(given.policies):
        target = action.jump(policy_chain_name(given.inbound, policy))
        if index % _STRIDE:
            rules.append(match.rule(match.mark_clear(verdicts), target))
            continue
        if index:
            rules.append(
                match.rule(match.comment("Return on verdict"), match.mark_not_clear(verdicts), action.RETURN)
            )
        rules.append(target)
    return Chain(given.chain_name, tuple(rules))
