"""Policies and profiles: the rules of one chain."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from pycalico.calc.messages import PolicyUpdate, PortRange, ProfileUpdate, Rule
from pycalico.dataplane.rules import action, match, name
from pycalico.dataplane.rules.chain import Chain
from pycalico.dataplane.rules.context import RuleContext

_NET_FIELDS = ("src_nets", "dst_nets", "not_src_nets", "not_dst_nets")
_FAMILY_OF_PROTOCOL = {"icmp": 4, "icmpv6": 6}
_PROTOCOL_NUMBERS = {"icmp": 1, "tcp": 6, "udp": 17, "icmpv6": 58, "sctp": 132, "udplite": 136}


def policy_chain_name(inbound: bool, policy: str) -> str:
    return name.limited(name.POLICY_IN if inbound else name.POLICY_OUT, policy)


def profile_chain_name(inbound: bool, profile: str) -> str:
    return name.limited(name.PROFILE_IN if inbound else name.PROFILE_OUT, profile)


def render_policy(context: RuleContext, update: PolicyUpdate) -> tuple[Chain, Chain]:
    """The inbound and the outbound chain."""
    return (
        _render_chain(
            context,
            policy_chain_name(True, update.id.name),
            update.inbound,
            f"Policy {update.id.name} ingress",
        ),
        _render_chain(
            context,
            policy_chain_name(False, update.id.name),
            update.outbound,
            f"Policy {update.id.name} egress",
        ),
    )


def render_profile(context: RuleContext, update: ProfileUpdate) -> tuple[Chain, Chain]:
    """The inbound and the outbound chain."""
    return (
        _render_chain(
            context, profile_chain_name(True, update.name), update.inbound, f"Profile {update.name} ingress"
        ),
        _render_chain(
            context, profile_chain_name(False, update.name), update.outbound, f"Profile {update.name} egress"
        ),
    )


def _render_chain(context: RuleContext, chain: str, rules: Iterable[Rule], label: str) -> Chain:
    """Returns at the end do nothing and are left out; an empty chain keeps one rule to carry the label."""
    lines = [line for rule in rules for line in render_rule(context, rule)]
    # A native rule does more than return.
    while not context.native and lines and lines[-1].body.endswith(action.RETURN):
        lines.pop()
    if not lines:
        lines.append(_Line("", ""))
    # nf_tables counts each rule under its comment, so there each says whose it is.
    for index in range(len(lines) if context.native else 1):
        lines[index] = _Line(match.rule(lines[index].notes, match.comment(label)), lines[index].body)
    return Chain(chain, tuple(match.rule(line.notes, line.body) for line in lines))


class _Line(msgspec.Struct, frozen=True):
    notes: str
    body: str


def _of_family(context: RuleContext, rule: Rule) -> Rule | None:
    """The rule with the family's nets only; None when no packet of the family can match."""
    wanted = rule.ip_version or _FAMILY_OF_PROTOCOL.get(str(rule.protocol))
    if wanted and wanted != context.family:
        return None
    if rule.protocol is not None and rule.not_protocol is not None:
        # iptables takes one protocol only (upstream's rules are refused by it): one that is wished excludes others.
        if _protocol_number(rule.protocol) == _protocol_number(rule.not_protocol):
            return None
        rule = msgspec.structs.replace(rule, not_protocol=None)
    changed: dict[str, tuple[str, ...]] = {}
    for field in _NET_FIELDS:
        nets: tuple[str, ...] = getattr(rule, field)
        if nets:
            kept = tuple(net for net in nets if context.is_of_family(net))
            if not kept:
                return None
            changed[field] = kept
    return msgspec.structs.replace(rule, **changed) if changed else rule


def _protocol_number(protocol: str | int) -> str | int:
    return _PROTOCOL_NUMBERS.get(protocol, protocol) if isinstance(protocol, str) else protocol


class _Blocks:
    """Alternatives that one iptables rule cannot hold: each block sets or clears a mark bit, and the main rule
    asks for it. ``whole`` says that all blocks so far agree; ``current`` is scratch for one block.
    """

    def __init__(self, context: RuleContext) -> None:
        self._native = context.native
        self._whole = context.marks.scratch0
        self._current = context.marks.scratch1
        self._set_name = context.set_name
        self._had_positive = False
        self.lines: list[str] = []

    def _start(self, initially: int) -> None:
        if not self.lines:
            self.lines.append(action.set_masked_mark(initially, self._whole | self._current))

    def positive(self, matches: Iterable[str]) -> None:
        """One of ``matches`` must hold."""
        self._start(0)
        bit = self._current if self._had_positive else self._whole
        self.lines += [match.rule(m, action.set_mark(bit)) for m in matches]
        if self._had_positive:
            self.lines.append(match.rule(match.mark_clear(self._current), action.clear_mark(self._whole)))
        self._had_positive = True

    def negative(self, matches: Iterable[str]) -> None:
        """None of ``matches`` may hold."""
        self._start(self._whole)
        self.lines += [match.rule(m, action.clear_mark(self._whole)) for m in matches]

    def take_ports(self, rule: Rule, side: str) -> Rule:
        ports: tuple[PortRange, ...] = getattr(rule, f"{side}_ports")
        splits = ([[*ports]] if ports else []) if self._native else match.split_ports(ports)
        named: tuple[str, ...] = getattr(rule, f"{side}_named_port_ip_set_ids")
        if len(splits) + len(named) <= 1:
            return rule
        protocol = match.protocol(rule.protocol)
        numeric = [match.rule(protocol, match.ports(side, split)) for split in splits]
        sets = [match.in_set(self._set_name(set_id), f"{side},{side}") for set_id in named]
        self.positive(numeric + sets)
        return msgspec.structs.replace(rule, **{f"{side}_ports": (), f"{side}_named_port_ip_set_ids": ()})

    def take_nets(self, rule: Rule, side: str) -> Rule:
        nets: tuple[str, ...] = getattr(rule, f"{side}_nets")
        if self._native or len(nets) <= 1:
            return rule
        self.positive(match.net(side, net) for net in nets)
        return msgspec.structs.replace(rule, **{f"{side}_nets": ()})

    def take_negated_nets(self, rule: Rule, side: str) -> Rule:
        negated: tuple[str, ...] = getattr(rule, f"not_{side}_nets")
        if self._native or len(getattr(rule, f"{side}_nets")) + len(negated) <= 1:
            return rule
        self.negative(match.net(side, net) for net in negated)
        return msgspec.structs.replace(rule, **{f"not_{side}_nets": ()})

    def main_match(self) -> str:
        return match.mark_set(self._whole) if self.lines else ""


def render_rule(context: RuleContext, given: Rule) -> list[_Line]:
    """One rule of a policy as lines of iptables; empty when it does not concern the family.

    Raises ValueError for an action that is not allow, deny, pass (next-tier) or log.
    """
    rule = _of_family(context, given)
    if rule is None:
        return []
    blocks = _Blocks(context)
    for take in (blocks.take_ports, blocks.take_nets, blocks.take_negated_nets):
        for side in ("src", "dst"):
            rule = take(rule, side)
    found = match.rule(*_matches(context, rule), blocks.main_match())
    bodies = blocks.lines + _verdict(context, rule.action, found)
    notes = match.rule(*(match.comment(f"{key}={value}") for key, value in given.annotations))
    return [_Line(notes, body) for body in bodies]


def _verdict(context: RuleContext, verdict: str, found: str) -> list[str]:
    match verdict:
        case "" | "allow":
            bit = context.marks.accept
        case "pass" | "next-tier":
            bit = context.marks.passed
        case "deny":
            return [match.rule(found, context.deny)]
        case "log":
            return [match.rule(found, action.log(context.config.log_prefix))]
        case _:
            raise ValueError(f"unknown rule action {verdict!r}")
    if context.native:
        return [match.rule(found, action.set_mark(bit), action.RETURN)]
    return [match.rule(found, action.set_mark(bit)), match.rule(match.mark_set(bit), action.RETURN)]


def _matches(context: RuleContext, rule: Rule) -> list[str]:
    """The criteria of the main rule, in upstream's order: positive ones, then negated ones."""
    found = [match.protocol(rule.protocol)]
    for side in ("src", "dst"):
        found += _side(context, rule, side)
    if rule.icmp_type is not None:
        found.append(match.icmp(context.family, rule.icmp_type, rule.icmp_code))
    found.append(match.protocol(rule.not_protocol, negated=True))
    for side in ("src", "dst"):
        found += _negated_side(context, rule, side)
    if rule.not_icmp_type is not None:
        found.append(match.icmp(context.family, rule.not_icmp_type, rule.not_icmp_code, negated=True))
    return found


def _side(context: RuleContext, rule: Rule, side: str) -> list[str]:
    ports: Sequence[PortRange] = getattr(rule, f"{side}_ports")
    nets: Sequence[str] = getattr(rule, f"{side}_nets")
    # iptables' rules hold at most one by now.
    found = [match.nets(side, nets)] if nets else []
    found += [match.in_set(context.set_name(i), side) for i in getattr(rule, f"{side}_ip_set_ids")]
    if side == "dst":
        found += [match.in_set(context.set_name(i), "dst,dst") for i in rule.dst_ip_port_set_ids]
    if ports:
        found.append(match.ports(side, ports))
    found += [
        match.in_set(context.set_name(i), f"{side},{side}")
        for i in getattr(rule, f"{side}_named_port_ip_set_ids")
    ]
    return found


def _negated_side(context: RuleContext, rule: Rule, side: str) -> list[str]:
    nets: Sequence[str] = getattr(rule, f"not_{side}_nets")
    found = [match.nets(side, nets, negated=True)] if nets else []
    found += [
        match.in_set(context.set_name(i), side, negated=True) for i in getattr(rule, f"not_{side}_ip_set_ids")
    ]
    ports: Sequence[PortRange] = getattr(rule, f"not_{side}_ports")
    splits = ([[*ports]] if ports else []) if context.native else match.split_ports(ports)
    found += [match.ports(side, split, negated=True) for split in splits]
    found += [
        match.in_set(context.set_name(i), f"{side},{side}", negated=True)
        for i in getattr(rule, f"not_{side}_named_port_ip_set_ids")
    ]
    return found
