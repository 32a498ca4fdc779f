"""Rules, selectors and protocols of v1 as v3 has them."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

from pycalico.api.rule import EntityRule, Protocol, Rule
from pycalico.calicoctl.convert.legacy import Entity, LegacyRule

_ACTIONS = {"": "Allow", "allow": "Allow", "deny": "Deny", "log": "Log", "pass": "Pass"}
_PROTOCOLS = {
    "tcp": "TCP",
    "udp": "UDP",
    "icmp": "ICMP",
    "icmpv6": "ICMPv6",
    "sctp": "SCTP",
    "udplite": "UDPLite",
}


def converted(rules: Iterable[LegacyRule]) -> list[Rule]:
    return [
        Rule(
            action=_ACTIONS.get(rule.action.lower(), rule.action),
            ip_version=rule.ip_version,
            protocol=protocol(rule.protocol),
            icmp=rule.icmp,
            not_protocol=protocol(rule.not_protocol),
            not_icmp=rule.not_icmp,
            source=_side(rule.source),
            destination=_side(rule.destination),
        )
        for rule in rules
    ]


def protocol(value: Protocol | None) -> Protocol | None:
    return _PROTOCOLS.get(value.lower(), value) if isinstance(value, str) else value


def selector(text: str) -> str:
    return text.replace("calico/k8s_ns", "projectcalico.org/namespace")


def network(text: str) -> str:
    """``10.0.0.1/8`` → ``10.0.0.0/8``."""
    return str(ipaddress.ip_network(text, strict=False))


def _side(side: Entity) -> EntityRule:
    return EntityRule(
        nets=_nets(side.net, side.nets),
        selector=_tagged(side.selector, side.tag),
        ports=side.ports,
        not_nets=_nets(side.not_net, side.not_nets),
        not_selector=_tagged(side.not_selector, side.not_tag),
        not_ports=side.not_ports,
    )


def _nets(one: str, several: list[str]) -> list[str]:
    return [network(each) for each in [*several, *([one] if one else [])]]


def _tagged(text: str, tag: str) -> str:
    """A tag is an empty label now."""
    text = selector(text)
    if not tag:
        return text
    return f"({text}) && {tag} == ''" if text else f"{tag} == ''"
