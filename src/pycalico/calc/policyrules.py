"""Policies and profiles as rules over selectors: from v3 resources to what the scanner turns into IP sets.

Selectors of namespaced rules are joined as text and parsed as upstream does it, since identifiers are made of
the canonical text; each user's part stands in brackets of its own, so that no ``||`` can widen it.
"""

from __future__ import annotations

import msgspec

from pycalico.api import selector as selectors
from pycalico.api.rule import EntityRule, Port, Protocol, Rule
from pycalico.api.v3.networkpolicy import GlobalNetworkPolicy, NetworkPolicy
from pycalico.calc import addresses
from pycalico.calc.messages import PortRange

NAMESPACE = "projectcalico.org/namespace"
SERVICE_ACCOUNT = "projectcalico.org/serviceaccount"
NAMESPACE_PREFIX, SERVICE_ACCOUNT_PREFIX = "pcns.", "pcsa."
NAMED_PORT_PROTOCOLS = ("udp", "sctp")


class Side(msgspec.Struct, frozen=True):
    """Source or destination. ``selector`` None: no restriction; ``not_selector`` stands alone only without one."""

    nets: tuple[str, ...] = ()
    ports: tuple[PortRange, ...] = ()
    named_ports: tuple[str, ...] = ()
    selector: selectors.Selector | None = None
    not_selector: selectors.Selector | None = None
    not_nets: tuple[str, ...] = ()
    not_ports: tuple[PortRange, ...] = ()
    not_named_ports: tuple[str, ...] = ()
    service: str = ""


class PolicyRule(msgspec.Struct, frozen=True):
    action: str
    source: Side
    destination: Side
    ip_version: int | None = None
    protocol: str | int | None = None
    not_protocol: str | int | None = None
    icmp: tuple[int | None, int | None] = (None, None)
    not_icmp: tuple[int | None, int | None] = (None, None)
    annotations: tuple[tuple[str, str], ...] = ()
    http: bool = False
    """Looks into HTTP, which the kernel cannot: the rest of the rule decides."""


class PolicyModel(msgspec.Struct, frozen=True):
    """``name`` is Felix's (``default/default.web``); ``order`` None sorts last."""

    name: str
    namespace: str
    selector: selectors.Selector
    order: float | None
    ingress: bool
    egress: bool
    inbound: tuple[PolicyRule, ...]
    outbound: tuple[PolicyRule, ...]
    untracked: bool = False
    pre_dnat: bool = False
    apply_on_forward: bool = False
    everywhere: bool = False

    @property
    def sort_key(self) -> tuple[bool, float, str]:
        return (self.order is None, self.order or 0.0, self.name)


def from_network_policy(policy: NetworkPolicy) -> PolicyModel:
    """Raises ValueError when a selector, CIDR or port does not parse."""
    spec, namespace = policy.spec, policy.metadata.namespace
    own = f"{NAMESPACE} == '{namespace}'"
    chosen = f"({spec.selector}) && {own}" if spec.selector else own
    chosen = _and(chosen, spec.service_account_selector, SERVICE_ACCOUNT_PREFIX)
    types = [item.lower() for item in spec.types]
    return PolicyModel(
        name=f"{namespace}/{policy.metadata.name}",
        namespace=namespace,
        selector=selectors.parse(chosen),
        order=spec.order,
        ingress=not types or "ingress" in types,
        egress=not types or "egress" in types,
        inbound=convert_rules(spec.ingress, namespace),
        outbound=convert_rules(spec.egress, namespace),
        apply_on_forward=True,
        everywhere="AssumeNeededOnEveryNode" in spec.performance_hints,
    )


def from_global_policy(policy: GlobalNetworkPolicy) -> PolicyModel:
    """Raises ValueError like ``from_network_policy``."""
    spec = policy.spec
    chosen = spec.selector
    # Either restriction leaves out host endpoints and global sets, which an all() of the other part would take in.
    if spec.namespace_selector:
        chosen = _and(chosen, spec.namespace_selector, NAMESPACE_PREFIX).replace("all()", f"has({NAMESPACE})")
    if spec.service_account_selector:
        chosen = _and(chosen, spec.service_account_selector, SERVICE_ACCOUNT_PREFIX)
        chosen = chosen.replace("all()", f"has({SERVICE_ACCOUNT})")
    types = [item.lower() for item in spec.types]
    return PolicyModel(
        name=policy.metadata.name,
        namespace="",
        selector=selectors.parse(chosen),
        order=spec.order,
        ingress=not types or "ingress" in types,
        egress=not types or "egress" in types,
        inbound=convert_rules(spec.ingress, ""),
        outbound=convert_rules(spec.egress, ""),
        untracked=spec.do_not_track,
        pre_dnat=spec.pre_dnat,
        apply_on_forward=spec.apply_on_forward,
        everywhere="AssumeNeededOnEveryNode" in spec.performance_hints,
    )


def _and(chosen: str, restriction: str, prefix: str) -> str:
    """The order of the parts shows in identifiers."""
    if not restriction:
        return chosen
    added = _prefixed(restriction, prefix)
    return f"({chosen}) && {added}" if chosen else added


def _prefixed(text: str, prefix: str) -> str:
    return selectors.parse(text).rename(lambda key: prefix + key).text


def only_logs(rules: tuple[PolicyRule, ...]) -> bool:
    """There are rules, and none of them decides."""
    return bool(rules) and all(rule.action == "log" for rule in rules)


def convert_rules(rules: list[Rule], namespace: str) -> tuple[PolicyRule, ...]:
    return tuple(_convert(rule, namespace) for rule in rules)


def _convert(rule: Rule, namespace: str) -> PolicyRule:
    action = rule.action.lower()
    if action not in ("allow", "deny", "log", "pass"):
        raise ValueError(f"unknown action {rule.action!r}")
    return PolicyRule(
        action=action,
        source=_side(rule.source, namespace),
        destination=_side(rule.destination, namespace),
        ip_version=rule.ip_version,
        protocol=_protocol(rule.protocol),
        not_protocol=_protocol(rule.not_protocol),
        icmp=(rule.icmp.type, rule.icmp.code) if rule.icmp else (None, None),
        not_icmp=(rule.not_icmp.type, rule.not_icmp.code) if rule.not_icmp else (None, None),
        annotations=tuple(sorted(rule.metadata.annotations.items())) if rule.metadata else (),
        http=rule.http is not None,
    )


def _protocol(protocol: Protocol | None) -> str | int | None:
    if isinstance(protocol, str):
        return int(protocol) if protocol.isdigit() else protocol.lower()
    return protocol


def _side(entity: EntityRule, namespace: str) -> Side:
    positive, negative = _entity_selector(entity, namespace), entity.not_selector
    if positive and negative:
        positive, negative = f"({positive}) && (!({negative}))", ""
    ports, named = split_ports(entity.ports)
    not_ports, not_named = split_ports(entity.not_ports)
    service = ""
    if entity.services is not None and entity.services.name:
        service = f"{entity.services.namespace or namespace}/{entity.services.name}"
    return Side(
        nets=addresses.networks(entity.nets),
        ports=ports,
        named_ports=named,
        selector=selectors.parse(positive) if positive else None,
        not_selector=selectors.parse(negative) if negative else None,
        not_nets=addresses.networks(entity.not_nets),
        not_ports=not_ports,
        not_named_ports=not_named,
        service=service,
    )


def _entity_selector(entity: EntityRule, namespace: str) -> str:
    """The endpoints of one side as text; empty when it does not restrict endpoints."""
    where = ""
    if entity.namespace_selector:
        where = _prefixed(entity.namespace_selector, NAMESPACE_PREFIX)
        where = where.replace("all()", f"has({NAMESPACE})").replace("global()", f"!has({NAMESPACE})")
    elif namespace:
        where = f"{NAMESPACE} == '{namespace}'"
    parts = [part for part in (_service_accounts(entity), entity.selector) if part]
    chosen = parts[0] if len(parts) == 1 else "(" + ") && (".join(parts) + ")" if parts else ""
    if where and (chosen or entity.not_selector or entity.namespace_selector):
        return f"({where}) && ({chosen})" if chosen else where
    return chosen


def _service_accounts(entity: EntityRule) -> str:
    if entity.service_accounts is None:
        return ""
    match = entity.service_accounts
    chosen = _prefixed(match.selector, SERVICE_ACCOUNT_PREFIX) if match.selector else ""
    if not match.names:
        return chosen
    named = selectors.parse(f"{SERVICE_ACCOUNT} in {{ '" + "', '".join(match.names) + "' }").text
    return f"({chosen}) && ({named})" if chosen else named


def split_ports(ports: list[Port]) -> tuple[tuple[PortRange, ...], tuple[str, ...]]:
    """Numbers and ranges, and names."""
    ranges: list[PortRange] = []
    named: list[str] = []
    for port in ports:
        text = str(port)
        first, mark, last = text.partition(":")
        if first.isdigit() and (not mark or last.isdigit()):
            low, high = int(first), int(last or first)
            if not 0 <= low <= high <= 65535:
                raise ValueError(f"port range {text} is out of order or range")
            ranges.append(PortRange(low, high))
        elif mark:
            raise ValueError(f"invalid port {text!r}")
        else:
            named.append(text)
    return tuple(ranges), tuple(named)
