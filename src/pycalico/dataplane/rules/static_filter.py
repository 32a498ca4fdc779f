"""The filter table's fixed chains."""

from __future__ import annotations

from collections.abc import Iterable

from pycalico.dataplane.rules import action, match, name
from pycalico.dataplane.rules.chain import Chain
from pycalico.dataplane.rules.context import RuleContext
from pycalico.dataplane.rules.failsafe import failsafe_chains
from pycalico.dataplane.rules.ipvs import forward_check_chain, forward_endpoint_mark_chain
from pycalico.dataplane.rules.static_mangle import HOST_POLICY_ACCEPTED

#: Neighbour discovery and multicast listener messages that a workload's link cannot do without.
_ICMPV6_TYPES = (130, 131, 132, 133, 135, 136)
_DNS, _DHCP = 53, {4: (68, 67), 6: (546, 547)}


def filter_chains(context: RuleContext) -> list[Chain]:
    chains = [
        *failsafe_chains(context, "filter"),
        _input(context),
        _workload_to_host(context),
        _forward(context),
        _output(context),
    ]
    if context.config.kube_ipvs:
        chains += [forward_check_chain(context), forward_endpoint_mark_chain(context)]
    return chains


def appended_forward_rules(context: RuleContext) -> tuple[str, ...]:
    """What stands last in the kernel's FORWARD chain, whoever adds rules there."""
    accept = context.marks.accept
    return (
        match.rule(
            match.comment("Policy explicitly accepted packet."), match.mark_set(accept), context.filter_allow
        ),
        action.set_mark(accept),
    )


def cidr_block_chain(context: RuleContext, cidrs: Iterable[str]) -> Chain:
    """Service ranges: a packet that no service took must not loop between us and the router."""
    word = context.config.service_loop_prevention
    if word not in ("Drop", "Reject"):
        return Chain(name.CIDR_BLOCK)
    stop = action.named(word.upper())
    ours = sorted(cidr for cidr in cidrs if context.is_of_family(cidr))
    return Chain(name.CIDR_BLOCK, tuple(match.rule(match.destination(cidr), stop) for cidr in ours))


def _input(context: RuleContext) -> Chain:
    config, marks = context.config, context.marks
    accepted = match.mark_set(marks.accept)
    rules = [*_ipip_input(context), *_vxlan_input(context), *_wireguard(context, "incoming", "dst")]
    if config.kube_ipvs:
        rules += [
            action.clear_mark(marks.endpoint),
            action.jump(name.FORWARD_CHECK),
            match.rule(match.mark_not_clear(marks.endpoint), action.RETURN),
        ]
    rules += [
        match.rule(match.in_interface(p), action.goto(name.WORKLOAD_TO_HOST))
        for p in context.workload_patterns
    ]
    rules += [
        match.rule(accepted, context.filter_allow),
        action.clear_mark(marks.all_ours),
        action.jump(name.FROM_HOST_ENDPOINT),
        match.rule(HOST_POLICY_ACCEPTED, accepted, context.filter_allow),
    ]
    return Chain(name.FILTER_INPUT, tuple(rules))


def _ipip_input(context: RuleContext) -> list[str]:
    if not (context.config.ipip and context.family == 4):
        return []
    return [
        match.rule(
            match.comment("Allow IPIP packets from Calico hosts"),
            match.protocol(4),
            match.in_set(context.set_name(name.ALL_HOSTS), "src"),
            match.local_address("dst"),
            context.filter_allow,
        ),
        match.rule(
            match.comment(f"{context.deny_word} IPIP packets from non-Calico hosts"),
            match.protocol(4),
            context.deny,
        ),
    ]


def _has_vxlan(context: RuleContext) -> bool:
    return context.config.vxlan if context.family == 4 else context.config.vxlan_v6


def _vxlan_input(context: RuleContext) -> list[str]:
    if not _has_vxlan(context):
        return []
    # Upstream drops with IPv4 whatever the deny action; with IPv6 it follows it, in word and deed.
    word, deny = ("Drop", action.DROP) if context.family == 4 else (context.deny_word, context.deny)
    port = match.port("dst", context.config.vxlan_port)
    local = match.local_address("dst")
    return [
        match.rule(
            match.comment(f"Allow IPv{context.family} VXLAN packets from allowed hosts"),
            match.protocol(17),
            port,
            match.in_set(context.set_name(name.ALL_VXLAN), "src"),
            local,
            context.filter_allow,
        ),
        match.rule(
            match.comment(f"{word} IPv{context.family} VXLAN packets from non-allowed hosts"),
            match.protocol(17),
            port,
            local,
            deny,
        ),
    ]


def _wireguard(context: RuleContext, way: str, side: str) -> list[str]:
    config = context.config
    on, port = (
        (config.wireguard, config.wireguard_port)
        if context.family == 4
        else (config.wireguard_v6, config.wireguard_port_v6)
    )
    if not on:
        return []
    text = match.comment(f"Allow {way} IPv{context.family} Wireguard packets")
    return [
        match.rule(
            text, match.protocol(17), match.port("dst", port), match.local_address(side), context.filter_allow
        )
    ]


def _workload_to_host(context: RuleContext) -> Chain:
    config, allow = context.config, context.filter_allow
    rules = []
    if context.family == 6:
        rules += [match.rule(match.protocol(58), match.icmp(6, kind, None), allow) for kind in _ICMPV6_TYPES]
    if config.openstack:
        rules += _openstack(context)
    text = match.comment("Configured DefaultEndpointToHostAction")
    rules += [
        action.jump(name.FROM_WORKLOAD_DISPATCH),
        match.rule(text, action.named(config.endpoint_to_host_action)),
    ]
    return Chain(name.WORKLOAD_TO_HOST, tuple(rules))


def _openstack(context: RuleContext) -> list[str]:
    config, allow = context.config, context.filter_allow
    rules = []
    if context.family == 4 and config.openstack_metadata_ip:
        rules.append(
            match.rule(
                match.protocol("tcp"),
                match.destination(config.openstack_metadata_ip),
                match.port("dst", config.openstack_metadata_port),
                allow,
            )
        )
    client, server = _DHCP[context.family]
    rules += [
        match.rule(match.protocol("udp"), match.port("src", client), match.port("dst", server), allow),
        match.rule(match.protocol("udp"), match.port("dst", _DNS), allow),
    ]
    return rules


def _forward(context: RuleContext) -> Chain:
    marks = context.marks
    rules = [
        # The accept bit stays: it may have been set in the raw or mangle table.
        action.clear_mark(marks.all_ours & ~marks.accept),
        match.rule(match.mark_clear(marks.accept), action.jump(name.FROM_HOST_FORWARD)),
    ]
    for pattern in context.workload_patterns:
        rules += [
            match.rule(match.in_interface(pattern), action.jump(name.FROM_WORKLOAD_DISPATCH)),
            match.rule(match.out_interface(pattern), action.jump(name.TO_WORKLOAD_DISPATCH)),
        ]
    rules += [action.jump(name.TO_HOST_FORWARD), action.jump(name.CIDR_BLOCK)]
    return Chain(name.FILTER_FORWARD, tuple(rules))


def _unconnected_output(context: RuleContext) -> list[str]:
    """For nf_tables a packet without a connection is neither translated nor not."""
    return [match.rule(match.UNCONNECTED, action.jump(name.TO_HOST_ENDPOINT))] if context.native else []


def _output(context: RuleContext) -> Chain:
    config, marks = context.config, context.marks
    accepted = match.mark_set(marks.accept)
    rules = [match.rule(accepted, context.filter_allow)]
    if config.kube_ipvs:
        rules.append(
            match.rule(match.mark_not_clear(marks.endpoint), action.goto(name.FORWARD_ENDPOINT_MARK))
        )
    rules += [match.rule(match.out_interface(p), action.RETURN) for p in context.workload_patterns]
    if config.ipip and context.family == 4:
        rules.append(
            match.rule(
                match.comment("Allow IPIP packets to other Calico hosts"),
                match.protocol(4),
                match.in_set(context.set_name(name.ALL_HOSTS), "dst"),
                match.local_address("src"),
                context.filter_allow,
            )
        )
    if _has_vxlan(context):
        rules.append(
            match.rule(
                match.comment(f"Allow IPv{context.family} VXLAN packets to other allowed hosts"),
                match.protocol(17),
                match.port("dst", config.vxlan_port),
                match.local_address("src"),
                match.in_set(context.set_name(name.ALL_VXLAN), "dst"),
                context.filter_allow,
            )
        )
    rules += [
        *_wireguard(context, "outgoing", "src"),
        action.clear_mark(marks.all_ours),
        match.rule(match.conntrack("DNAT", negated=True), action.jump(name.TO_HOST_ENDPOINT)),
        *_unconnected_output(context),
        match.rule(HOST_POLICY_ACCEPTED, accepted, context.filter_allow),
    ]
    return Chain(name.FILTER_OUTPUT, tuple(rules))
