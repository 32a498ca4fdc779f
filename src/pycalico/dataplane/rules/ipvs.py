"""kube-proxy in IPVS mode: a forwarded packet goes through INPUT and OUTPUT, so its origin is kept in the mark."""

from __future__ import annotations

from pycalico.calc.messages import PortRange
from pycalico.dataplane.rules import action, match, name
from pycalico.dataplane.rules.chain import Chain
from pycalico.dataplane.rules.context import RuleContext


def forward_check_chain(context: RuleContext) -> Chain:
    """Marks packets that are to be forwarded: to a node port here, or to an address that is not ours."""
    this_host = context.set_name(name.THIS_HOST)
    ranges = [PortRange(first, last) for first, last in context.config.kube_node_port_ranges]
    text = match.comment("To kubernetes NodePort service")
    rules = [match.rule(match.ESTABLISHED, action.RETURN)]
    rules += [
        match.rule(
            text,
            match.protocol(protocol),
            match.ports("dst", split),
            match.in_set(this_host, "dst"),
            action.goto(name.SET_ENDPOINT_MARK),
        )
        for split in match.split_ports(ranges)
        for protocol in ("tcp", "udp")
    ]
    rules.append(
        match.rule(
            match.comment("To kubernetes service"),
            match.in_set(this_host, "dst", negated=True),
            action.jump(name.SET_ENDPOINT_MARK),
        )
    )
    return Chain(name.FORWARD_CHECK, tuple(rules))


def forward_endpoint_mark_chain(context: RuleContext) -> Chain:
    marks = context.marks
    rules = [
        match.rule(match.mark_differs(marks.non_calico, marks.endpoint), action.jump(name.FROM_ENDPOINT_MARK))
    ]
    rules += [
        match.rule(match.out_interface(p), action.jump(name.TO_WORKLOAD_DISPATCH))
        for p in context.workload_patterns
    ]
    rules += [
        action.jump(name.TO_HOST_FORWARD),
        action.clear_mark(marks.endpoint),
        match.rule(
            match.comment("Policy explicitly accepted packet."),
            match.mark_set(marks.accept),
            context.filter_allow,
        ),
    ]
    return Chain(name.FORWARD_ENDPOINT_MARK, tuple(rules))
