"""The nat table's fixed chains, outgoing NAT and floating IPs."""

from __future__ import annotations

from collections.abc import Iterable

from pycalico.dataplane.rules import action, match, name
from pycalico.dataplane.rules.chain import Chain
from pycalico.dataplane.rules.context import RuleContext


def nat_chains(context: RuleContext) -> list[Chain]:
    config = context.config
    prerouting = [action.jump(name.FLOATING_DNAT)]
    if config.openstack and context.family == 4 and config.openstack_metadata_ip:
        prerouting.append(
            match.rule(
                match.protocol("tcp"),
                match.port("dst", 80),
                match.destination("169.254.169.254/32"),
                action.dnat(f"{config.openstack_metadata_ip}:{config.openstack_metadata_port}"),
            )
        )
    postrouting = [action.jump(name.FLOATING_SNAT), action.jump(name.NAT_OUTGOING)]
    postrouting += [_tunnel_masquerade(context, tunnel) for tunnel in _tunnels(context)]
    return [
        Chain(name.PREROUTING, tuple(prerouting)),
        Chain(name.OUTPUT, (action.jump(name.FLOATING_DNAT),)),
        Chain(name.POSTROUTING, tuple(postrouting)),
    ]


def _tunnels(context: RuleContext) -> list[str]:
    config = context.config
    rows: tuple[tuple[bool, str], ...]
    if context.family == 4:
        rows = (
            (config.ipip and bool(config.ipip_tunnel_address), "tunl0"),
            (config.vxlan and bool(config.vxlan_tunnel_address), "vxlan.calico"),
            (config.wireguard, config.wireguard_interface),
        )
    else:
        rows = (
            (config.vxlan_v6 and bool(config.vxlan_tunnel_address_v6), "vxlan-v6.calico"),
            (config.wireguard_v6, config.wireguard_interface_v6),
        )
    return [tunnel for wanted, tunnel in rows if wanted]


def _tunnel_masquerade(context: RuleContext, tunnel: str) -> str:
    """The host's own packets into a tunnel need the tunnel's address, or replies would not come back by it."""
    return match.rule(
        match.out_interface(tunnel),
        match.SOURCE_NOT_OF_OUT_INTERFACE,
        match.local_address("src"),
        action.masquerade(fully_random=context.masquerade_fully_random),
    )


def nat_outgoing_chain(context: RuleContext, active: bool) -> Chain:
    """``active``: some pool of the family has natOutgoing."""
    if not active:
        return Chain(name.NAT_OUTGOING)
    ports = context.config.nat_port_range
    rules = []
    if ports and ports[1]:
        text = f"{ports[0]}-{ports[1]}"
        for protocol in ("tcp", "udp"):
            rules.append(_outgoing(context, protocol, _translation(context, text)))
            rules.append(_outgoing(context, protocol, action.RETURN))
    rules.append(_outgoing(context, None, _translation(context, "")))
    return Chain(name.NAT_OUTGOING, tuple(rules))


def _outgoing(context: RuleContext, protocol: str | None, what: str) -> str:
    interface = context.config.nat_outgoing_interface_filter
    return match.rule(
        match.in_set(context.set_name(name.MASQ_POOLS), "src"),
        match.in_set(context.set_name(name.ALL_POOLS), "dst", negated=True),
        match.protocol(protocol),
        match.out_interface(interface) if interface else "",
        what,
    )


def _translation(context: RuleContext, ports: str) -> str:
    address = context.config.nat_outgoing_address
    if not address:
        return action.masquerade(ports, context.masquerade_fully_random)
    return action.snat(f"{address}:{ports}" if ports else address, context.snat_fully_random)


def floating_chains(context: RuleContext, pairs: Iterable[tuple[str, str]]) -> list[Chain]:
    """``pairs`` are (external, internal) addresses; on a clash the lowest counterpart wins.

    Who lost an external address does not send from it either.
    """
    inward: dict[str, str] = {}
    outward: dict[str, str] = {}
    for external, internal in pairs:
        inward[external] = min(internal, inward.get(external, internal))
    for external, internal in inward.items():
        outward[internal] = min(external, outward.get(internal, external))
    dnat = [match.rule(match.destination(e), action.dnat(inward[e])) for e in sorted(inward)]
    snat = [
        match.rule(match.destination(i), match.source(i), action.snat(outward[i], context.snat_fully_random))
        for i in sorted(outward)
    ]
    return [Chain(name.FLOATING_DNAT, tuple(dnat)), Chain(name.FLOATING_SNAT, tuple(snat))]
