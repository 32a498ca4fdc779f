"""The raw table's fixed chains."""

from __future__ import annotations

from collections.abc import Iterable

from pycalico.dataplane.rules import action, match, name
from pycalico.dataplane.rules.chain import Chain
from pycalico.dataplane.rules.context import RuleContext
from pycalico.dataplane.rules.failsafe import failsafe_chains


def raw_chains(context: RuleContext) -> list[Chain]:
    chains = [*failsafe_chains(context, "raw"), _prerouting(context), _output(context)]
    if _marks_wireguard(context):
        chains.append(_wireguard_incoming_mark(context))
    return chains


def _marks_wireguard(context: RuleContext) -> bool:
    config = context.config
    return (config.wireguard or config.wireguard_v6) and config.wireguard_host_encryption


def _prerouting(context: RuleContext) -> Chain:
    marks = context.marks
    from_workload = match.mark_set(marks.scratch0)
    rules = [action.clear_mark(marks.all_ours)]
    if _marks_wireguard(context):
        rules.append(action.jump(name.WIREGUARD_INCOMING_MARK))
    rules += [
        match.rule(match.in_interface(p), action.set_mark(marks.scratch0)) for p in context.workload_patterns
    ]
    rules.append(match.rule(from_workload, action.jump(name.RPF_SKIP)))
    if context.config.openstack and context.family == 4:
        # A DHCP request has no source address yet, so it would fail the check.
        rules.append(
            match.rule(
                match.protocol("udp"),
                match.source("0.0.0.0"),
                match.port("src", 68),
                match.port("dst", 67),
                action.ACCEPT,
            )
        )
    # REJECT exists in the filter table only, so a spoofed packet is dropped whatever the deny action is.
    rules += [
        match.rule(from_workload, match.REVERSE_PATH_FAILS, action.DROP),
        match.rule(match.mark_clear(marks.scratch0), action.jump(name.FROM_HOST_ENDPOINT)),
        match.rule(match.mark_set(marks.accept), action.ACCEPT),
    ]
    return Chain(name.PREROUTING, tuple(rules))


def _output(context: RuleContext) -> Chain:
    return Chain(
        name.OUTPUT,
        (
            action.clear_mark(context.marks.all_ours),
            action.jump(name.TO_HOST_ENDPOINT),
            match.rule(match.mark_set(context.marks.accept), action.ACCEPT),
        ),
    )


def _wireguard_incoming_mark(context: RuleContext) -> Chain:
    config = context.config
    skipped = ("lo", config.wireguard_interface, config.wireguard_interface_v6, *context.workload_patterns)
    rules = [match.rule(match.in_interface(item), action.RETURN) for item in skipped]
    return Chain(name.WIREGUARD_INCOMING_MARK, (*rules, action.set_mark(context.marks.wireguard)))


def rpf_skip_chain(context: RuleContext, spoofing: Iterable[tuple[str, str]]) -> Chain:
    """``spoofing``: (interface, CIDR) pairs that a workload may use as source; other families' are left out."""
    rules = [
        match.rule(match.in_interface(interface), match.source(cidr), action.ACCEPT)
        for interface, cidr in sorted(spoofing)
        if context.is_of_family(cidr)
    ]
    return Chain(name.RPF_SKIP, tuple(rules))
