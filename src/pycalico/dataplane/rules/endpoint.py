"""Chains of one endpoint: workloads and host endpoints, towards and from."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum, auto

import msgspec

from pycalico.dataplane.rules import action, match, name
from pycalico.dataplane.rules.chain import Chain
from pycalico.dataplane.rules.context import RuleContext
from pycalico.dataplane.rules.group import PolicyGroup
from pycalico.dataplane.rules.policy import profile_chain_name

Groups = Sequence[PolicyGroup]


class Kind(Enum):
    NORMAL = auto()
    UNTRACKED = auto()
    PRE_DNAT = auto()
    FORWARD = auto()


class _Plan(msgspec.Struct, frozen=True):
    """What differs between the chains of endpoints."""

    prefix: str
    inbound: bool
    allow: str
    kind: Kind = Kind.NORMAL
    failsafe: str = ""
    forbids_tunnels: bool = False


def workload_chains(
    context: RuleContext, interface: str, up: bool, ingress: Groups, egress: Groups, profiles: Sequence[str]
) -> list[Chain]:
    """The filter table's chains of a workload; one rule denies all while it is administratively down."""
    plans = (
        (_Plan(name.TO_WORKLOAD, True, context.filter_allow), ingress),
        (_Plan(name.FROM_WORKLOAD, False, context.filter_allow, forbids_tunnels=True), egress),
    )
    if up:
        return [_render(context, plan, interface, groups, profiles) for plan, groups in plans]
    denied = (match.rule(match.comment("Endpoint admin disabled"), context.deny),)
    return [Chain(name.limited(plan.prefix, interface), denied) for plan, _ in plans]


def host_filter_chains(
    context: RuleContext,
    interface: str,
    normal: tuple[Groups, Groups],
    forward: tuple[Groups, Groups],
    profiles: Sequence[str],
) -> list[Chain]:
    """``normal`` and ``forward`` are (ingress, egress)."""
    allow = context.filter_allow
    plans = (
        (_Plan(name.TO_HOST, False, allow, failsafe=name.FAILSAFE_OUT), normal[1]),
        (_Plan(name.FROM_HOST, True, allow, failsafe=name.FAILSAFE_IN), normal[0]),
        (_Plan(name.TO_HOST_FWD, False, allow, Kind.FORWARD), forward[1]),
        (_Plan(name.FROM_HOST_FWD, True, allow, Kind.FORWARD), forward[0]),
    )
    return [_render(context, plan, interface, groups, profiles) for plan, groups in plans]


def host_mangle_egress_chain(
    context: RuleContext, interface: str, egress: Groups, profiles: Sequence[str]
) -> Chain:
    """For DNATed traffic. It returns instead of accepting: others may still want to mangle the packet."""
    plan = _Plan(name.TO_HOST, False, action.RETURN, failsafe=name.FAILSAFE_OUT)
    return _render(context, plan, interface, egress, profiles)


def host_mangle_ingress_chain(context: RuleContext, interface: str, ingress: Groups) -> Chain:
    """Pre-DNAT policy."""
    plan = _Plan(name.FROM_HOST, True, context.mangle_allow, Kind.PRE_DNAT, name.FAILSAFE_IN)
    return _render(context, plan, interface, ingress, ())


def host_raw_chains(context: RuleContext, interface: str, ingress: Groups, egress: Groups) -> list[Chain]:
    """Untracked policy."""
    to_host = _Plan(name.TO_HOST, False, action.ACCEPT, Kind.UNTRACKED, name.FAILSAFE_OUT)
    from_host = _Plan(name.FROM_HOST, True, action.ACCEPT, Kind.UNTRACKED, name.FAILSAFE_IN)
    return [
        _render(context, to_host, interface, egress, ()),
        _render(context, from_host, interface, ingress, ()),
    ]


def _render(
    context: RuleContext, plan: _Plan, interface: str, groups: Groups, profiles: Sequence[str]
) -> Chain:
    marks = context.marks
    rules = [] if plan.kind is Kind.UNTRACKED else _conntrack_rules(context, plan.allow)
    if plan.failsafe:
        rules.append(action.jump(plan.failsafe))
    rules.append(action.clear_mark(marks.accept | marks.passed))
    if plan.forbids_tunnels:
        rules += _tunnel_rules(context)
    rules += _policy_rules(context, plan.kind, groups)
    if plan.kind is Kind.FORWARD and not groups:
        rules += [
            match.rule(match.comment("Allow forwarded traffic by default"), action.set_mark(marks.accept)),
            match.rule(match.comment("Return for accepted forward traffic"), action.RETURN),
        ]
    if plan.kind is Kind.NORMAL:
        rules += _profile_rules(context, plan.inbound, profiles)
    return Chain(name.limited(plan.prefix, interface), tuple(rules))


def _conntrack_rules(context: RuleContext, allow: str) -> list[str]:
    rules = []
    if allow != action.ACCEPT:
        rules.append(match.rule(match.ESTABLISHED, action.set_mark(context.marks.accept)))
    rules.append(match.rule(match.ESTABLISHED, allow))
    if context.config.conntrack_invalid_check:
        rules.append(match.rule(match.conntrack("INVALID"), context.deny))
    return rules


def _tunnel_rules(context: RuleContext) -> list[str]:
    """Workloads must not forge packets of the overlays."""
    rules = []
    word = context.deny_word
    if not context.config.allow_vxlan_from_workloads:
        rules.append(
            match.rule(
                match.comment(f"{word} VXLAN encapped packets originating in workloads"),
                match.protocol(17),
                match.port("dst", context.config.vxlan_port),
                context.deny,
            )
        )
    if not context.config.allow_ipip_from_workloads:
        text = match.comment(f"{word} IPinIP encapped packets originating in workloads")
        rules.append(match.rule(text, match.protocol(4), context.deny))
    return rules


def _policy_rules(context: RuleContext, kind: Kind, groups: Groups) -> list[str]:
    marks = context.marks
    not_passed, accepted = match.mark_clear(marks.passed), match.mark_set(marks.accept)
    rules = []
    for group in groups:
        rules.append(match.rule(not_passed, action.jump(group.chain_name)))
        if kind is Kind.UNTRACKED:
            rules.append(match.rule(accepted, action.NOTRACK))
        rules.append(match.rule(match.comment("Return if policy accepted"), accepted, action.RETURN))
    if groups and kind in {Kind.NORMAL, Kind.FORWARD}:
        text = match.comment(f"{context.deny_word} if no policies passed packet")
        rules.append(match.rule(text, not_passed, context.deny))
    return rules


def _profile_rules(context: RuleContext, inbound: bool, profiles: Sequence[str]) -> list[str]:
    accepted = match.mark_set(context.marks.accept)
    rules = []
    for profile in profiles:
        rules.append(action.jump(profile_chain_name(inbound, profile)))
        rules.append(match.rule(match.comment("Return if profile accepted"), accepted, action.RETURN))
    rules.append(match.rule(match.comment(f"{context.deny_word} if no profiles matched"), context.deny))
    return rules


def set_mark_chain(interface: str, mark: int, block: int) -> Chain:
    """IPVS: notes where a packet came from before it goes through the local output path. ``mark`` 0: none is free."""
    rules = (action.set_masked_mark(mark, block),) if mark else ()
    return Chain(name.limited(name.SET_MARK, interface), rules)
