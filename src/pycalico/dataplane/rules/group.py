"""Groups of consecutive policies that select the same endpoints: evaluated together, in a chain of their own."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Sequence
from itertools import groupby

import msgspec

from pycalico.calc.messages import Rule
from pycalico.dataplane.rules import action, match, name
from pycalico.dataplane.rules.chain import Chain
from pycalico.dataplane.rules.context import RuleContext
from pycalico.dataplane.rules.policy import policy_chain_name

#: After so many jumps a return spares the rest.
_STRIDE = 5
#: A native group of so many policies has a map of ports; a policy of more ports than that may concern all.
_INDEXED_FROM, _KEYS_MOST = 64, 64
#: Rules that a map may cost for each policy.
_COPIES_MOST = 4
_WITH_PORTS = ("tcp", "udp", "sctp")
PortKeys = frozenset[tuple[str, int]]


class PolicyGroup(msgspec.Struct, frozen=True):
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
    keys: tuple[PortKeys | None, ...] = ()
    """In native rendering, for each policy the protocols and ports that it concerns; None: it may concern all."""

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
    selector_of: Callable[[str], str],
    lists: str = "",
    keys_of: Callable[[str], PortKeys | None] | None = None,
) -> list[PolicyGroup]:
    found = []
    for selector, run in groupby(policies, selector_of):
        names = tuple(run)
        keys = tuple(map(keys_of, names)) if keys_of and len(names) >= _INDEXED_FROM else ()
        found.append(PolicyGroup(tier, inbound, selector, names, lists, keys))
    return found


def port_keys(rules: Sequence[Rule]) -> PortKeys | None:
    """The (protocol, port) pairs without which no rule can match; None when they are none or too many."""
    keys: set[tuple[str, int]] = set()
    for rule in rules:
        if rule.protocol not in _WITH_PORTS or not rule.dst_ports or rule.dst_named_port_ip_set_ids:
            return None
        if sum(ports.last - ports.first + 1 for ports in rule.dst_ports) > _KEYS_MOST:
            return None
        keys |= {
            (str(rule.protocol), port)
            for ports in rule.dst_ports
            for port in range(ports.first, ports.last + 1)
        }
    return frozenset(keys) if len(keys) <= _KEYS_MOST else None


def render_group(context: RuleContext, given: PolicyGroup) -> list[Chain]:
    """The group's chain is the last. Where it is large, a map leads a packet past what cannot concern it: to a chain
    of those policies that name its protocol and port, and those that may concern all.
    """
    if not _is_worth_a_map(given):
        return [Chain(given.chain_name, _jumps(context, given.inbound, given.policies))]
    pairs = list(zip(given.policies, given.keys, strict=True))
    by_key: dict[tuple[str, int], list[str]] = {key: [] for _, keys in pairs for key in sorted(keys or ())}
    anyway: list[str] = []
    for policy, keys in pairs:
        for concerned in by_key.values() if keys is None else [by_key[key] for key in keys]:
            concerned.append(policy)
        if keys is None:
            anyway.append(policy)
    name_ = given.chain_name
    chains = [
        Chain(f"{name_}-{protocol}-{port}", _jumps(context, given.inbound, concerned))
        for (protocol, port), concerned in by_key.items()
    ]
    entries = tuple(
        match.rule(
            match.protocol(protocol), match.port("dst", port), action.goto(f"{name_}-{protocol}-{port}")
        )
        for protocol, port in by_key
    )
    rules = (match.in_port_map(f"@{name_}"), *_jumps(context, given.inbound, anyway))
    return [*chains, Chain(f"@{name_}", entries), Chain(name_, rules)]


def _is_worth_a_map(given: PolicyGroup) -> bool:
    """Policies that may concern all stand in the chain of each port, which must not multiply the rules."""
    ports = len({key for keys in given.keys for key in keys or ()})
    return bool(ports) and given.keys.count(None) * ports <= _COPIES_MOST * len(given.keys)


def _jumps(context: RuleContext, inbound: bool, policies: Iterable[str]) -> tuple[str, ...]:
    verdicts = context.marks.accept | context.marks.passed
    rules = []
    for index, policy in enumerate(policies):
        target = action.jump(policy_chain_name(inbound, policy))
        # Counted strides would all shift with one policy more, and each rule behind it would be another.
        if (zlib.crc32(policy.encode()) if context.native and index else index) % _STRIDE:
            rules.append(match.rule(match.mark_clear(verdicts), target))
            continue
        if index:
            rules.append(
                match.rule(match.comment("Return on verdict"), match.mark_not_clear(verdicts), action.RETURN)
            )
        rules.append(target)
    return tuple(rules)
