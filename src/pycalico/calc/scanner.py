"""From rules over selectors to rules over IP sets, and the sets that they need."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable

import msgspec

from pycalico.api.selector import All, Selector
from pycalico.calc.messages import IPSetType, Rule
from pycalico.calc.policyrules import NAMED_PORT_PROTOCOLS, PolicyRule, Side


class SetDefinition(msgspec.Struct, frozen=True):
    """What an IP set holds: the addresses of a selector, a named port of a selector's endpoints, or a service."""

    id: str
    type: IPSetType
    selector: Selector | None = None
    protocol: str = ""
    port_name: str = ""
    service: str = ""


def set_id(prefix: str, content: str) -> str:
    digest = hashlib.sha224(f"{prefix}:{content}".encode()).digest()
    return f"{prefix}:" + base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def selector_set(selector: Selector) -> SetDefinition:
    return SetDefinition(selector.unique_id, IPSetType.NET, selector=selector)


def named_port_set(selector: Selector | None, protocol: str | int | None, name: str) -> SetDefinition:
    chosen = selector or All()
    number = {17: "udp", 132: "sctp"}.get(protocol) if isinstance(protocol, int) else protocol
    proto = str(number) if number in NAMED_PORT_PROTOCOLS else "tcp"
    return SetDefinition(
        set_id("n", f"{chosen.unique_id},{proto},{name}"),
        IPSetType.IP_AND_PORT,
        selector=chosen,
        protocol=proto,
        port_name=name,
    )


def service_set(service: str, *, ports: bool) -> SetDefinition:
    if ports:
        return SetDefinition(set_id("svc", service), IPSetType.IP_AND_PORT, service=service)
    return SetDefinition(set_id("svcnoport", service), IPSetType.NET, service=service)


class _Sets:
    """The sets of one side."""

    def __init__(self, side: Side, protocol: str | int | None) -> None:
        self.named = [named_port_set(side.selector, protocol, name) for name in side.named_ports]
        self.not_named = [named_port_set(side.selector, protocol, name) for name in side.not_named_ports]
        # A named port's set holds only endpoints that the selector matches: with nothing but named ports the
        # selector's own set would say nothing new.
        covered = bool(side.named_ports) and not side.ports
        self.selected = [selector_set(side.selector)] if side.selector is not None and not covered else []
        self.not_selected = [selector_set(side.not_selector)] if side.not_selector is not None else []

    def all(self) -> list[SetDefinition]:
        return [*self.named, *self.not_named, *self.selected, *self.not_selected]


def scan(rules: Iterable[PolicyRule]) -> tuple[tuple[Rule, ...], dict[str, SetDefinition]]:
    """The rules as messages, and every set they name, by identifier."""
    scanned: list[Rule] = []
    needed: dict[str, SetDefinition] = {}
    for rule in rules:
        source, destination = _Sets(rule.source, rule.protocol), _Sets(rule.destination, rule.protocol)
        ip_port: list[SetDefinition] = []
        if rule.destination.service:
            ip_port.append(service_set(rule.destination.service, ports=True))
        if rule.source.service:
            source.selected.append(service_set(rule.source.service, ports=False))
        for definition in (*source.all(), *destination.all(), *ip_port):
            needed[definition.id] = definition
        scanned.append(
            Rule(
                action=rule.action,
                ip_version=rule.ip_version,
                protocol=rule.protocol,
                src_nets=rule.source.nets,
                src_ports=rule.source.ports,
                src_named_port_ip_set_ids=_ids(source.named),
                src_ip_set_ids=_ids(source.selected),
                dst_nets=rule.destination.nets,
                dst_ports=rule.destination.ports,
                dst_named_port_ip_set_ids=_ids(destination.named),
                dst_ip_set_ids=_ids(destination.selected),
                dst_ip_port_set_ids=_ids(ip_port),
                icmp_type=rule.icmp[0],
                icmp_code=rule.icmp[1],
                not_protocol=rule.not_protocol,
                not_src_nets=rule.source.not_nets,
                not_src_ports=rule.source.not_ports,
                not_src_named_port_ip_set_ids=_ids(source.not_named),
                not_src_ip_set_ids=_ids(source.not_selected),
                not_dst_nets=rule.destination.not_nets,
                not_dst_ports=rule.destination.not_ports,
                not_dst_named_port_ip_set_ids=_ids(destination.not_named),
                not_dst_ip_set_ids=_ids(destination.not_selected),
                not_icmp_type=rule.not_icmp[0],
                not_icmp_code=rule.not_icmp[1],
                annotations=rule.annotations,
            )
        )
    return tuple(scanned), needed


def _ids(definitions: list[SetDefinition]) -> tuple[str, ...]:
    return tuple(definition.id for definition in definitions)
