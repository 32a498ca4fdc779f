"""Ports that host endpoint policy never cuts."""

from __future__ import annotations

from collections.abc import Iterable

from pycalico.dataplane.config import FailsafePort
from pycalico.dataplane.rules import action, match, name
from pycalico.dataplane.rules.chain import Chain
from pycalico.dataplane.rules.context import RuleContext


def failsafe_chains(context: RuleContext, table: str) -> list[Chain]:
    """In the raw table, which conntrack has not seen yet, replies are let through too."""
    config = context.config
    inbound = _rules(context, config.failsafe_inbound, "dst", "src")
    outbound = _rules(context, config.failsafe_outbound, "dst", "dst")
    if table == "raw":
        inbound += _rules(context, config.failsafe_outbound, "src", "src")
        outbound += _rules(context, config.failsafe_inbound, "src", "dst")
    return [Chain(name.FAILSAFE_IN, tuple(inbound)), Chain(name.FAILSAFE_OUT, tuple(outbound))]


def _rules(context: RuleContext, ports: Iterable[FailsafePort], port_side: str, net_side: str) -> list[str]:
    return [
        match.rule(
            match.protocol(item.protocol),
            match.port(port_side, item.port),
            match.net(net_side, item.net) if item.net else "",
            action.ACCEPT,
        )
        for item in ports
        if not item.net or context.is_of_family(item.net)
    ]
