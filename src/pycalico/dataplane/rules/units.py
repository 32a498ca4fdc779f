"""A policy's rules one by one, with what a packet must have for one to match: native rendering puts them in order."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from pycalico.calc.messages import PolicyUpdate, PortRange, Rule
from pycalico.dataplane.rules import match
from pycalico.dataplane.rules.chain import Chain
from pycalico.dataplane.rules.context import RuleContext
from pycalico.dataplane.rules.policy import policy_chain_name, render_rule

#: A rule for more ports than this may as well concern all.
PORTS_MOST = 64
_WITH_PORTS = ("tcp", "udp", "sctp")


class Unit(msgspec.Struct, frozen=True):
    """What one rule of a policy came to: ``lines`` as they stand in a chain, ``body`` without comments.

    No line does anything to a packet that is not of ``protocol`` and one of the destination ``ports`` (empty
    protocol: any packet), nor to one whose peer is not in the set ``peers`` (empty: any). ``decides``: a packet that
    matches meets nothing behind.
    """

    lines: tuple[str, ...]
    body: str
    protocol: str = ""
    ports: tuple[PortRange, ...] = ()
    peers: str = ""
    decides: bool = True

    @property
    def port_count(self) -> int:
        return sum(item.last - item.first + 1 for item in self.ports)


def render_units(context: RuleContext, rules: Iterable[Rule], inbound: bool, label: str) -> tuple[Unit, ...]:
    """``label`` stands in each line's comment, as nf_tables counts each rule under its own. Raises ValueError."""
    units = (_unit(context, rule, inbound, match.comment(label)) for rule in rules)
    return tuple(unit for unit in units if unit)


def _unit(context: RuleContext, rule: Rule, inbound: bool, label: str) -> Unit | None:
    lines = render_rule(context, rule)
    if not lines:
        return None
    ports = needed_ports(rule)
    peers = rule.src_ip_set_ids if inbound else rule.dst_ip_set_ids
    return Unit(
        tuple(match.rule(line.notes, label, line.body) for line in lines),
        "\n".join(line.body for line in lines),
        str(rule.protocol) if ports else "",
        ports,
        peers[0] if peers else "",
        rule.action != "log",
    )


def needed_ports(rule: Rule) -> tuple[PortRange, ...]:
    """The destination ports of which a packet must have one; empty when none or too many are needed."""
    if rule.protocol not in _WITH_PORTS or rule.dst_named_port_ip_set_ids:
        return ()
    if sum(item.last - item.first + 1 for item in rule.dst_ports) > PORTS_MOST:
        return ()
    return tuple(rule.dst_ports)


def render_policy_units(
    context: RuleContext, update: PolicyUpdate
) -> tuple[tuple[Unit, ...], tuple[Unit, ...]]:
    """Inbound and outbound. Raises ValueError for an unknown action."""
    name = update.id.name
    return (
        render_units(context, update.inbound, True, f"Policy {name} ingress"),
        render_units(context, update.outbound, False, f"Policy {name} egress"),
    )


def policy_chains(policy: str, inbound: Sequence[Unit], outbound: Sequence[Unit]) -> tuple[Chain, Chain]:
    """For endpoints to which no other policy of the same selector applies beside this one."""
    return (
        Chain(policy_chain_name(True, policy), _lines(inbound, f"Policy {policy} ingress")),
        Chain(policy_chain_name(False, policy), _lines(outbound, f"Policy {policy} egress")),
    )


def _lines(units: Sequence[Unit], label: str) -> tuple[str, ...]:
    """An empty chain keeps one rule to carry the label."""
    return tuple(line for unit in units for line in unit.lines) or (match.comment(label),)
