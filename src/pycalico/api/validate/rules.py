"""Policy rules, as policies and profiles have them."""

from __future__ import annotations

import re

from pycalico.api import selector
from pycalico.api.rule import EntityRule, HTTPMatch, ICMPFields, Port, Protocol, Rule
from pycalico.api.validate import metadata, values
from pycalico.api.validate.faults import Faults, go_text

GLOBAL = "global()"
GLOBAL_ONLY_IN_NAMESPACES = f"{GLOBAL} can only be used in an EntityRule namespaceSelector"
_GLOBAL_WITH_OTHERS = re.compile(r"(&&|\|\|) global\(\)|global\(\) (&&|\|\|)")
_PORTS_RULE = "rules that specify ports must set protocol to TCP or UDP or SCTP"
_ACTIONS = values.one_of("Allow", "Deny", "Log", "Pass")
_PROTOCOLS = ("TCP", "UDP", "ICMP", "ICMPv6", "SCTP", "UDPLite")


def check(faults: Faults, rule: Rule) -> None:
    faults.field("Action", rule.action, "action", _ACTIONS, required=True)
    if rule.ip_version is not None:
        faults.field("IPVersion", rule.ip_version, "ipVersion", lambda found: found in (4, 6), required=True)
    if rule.protocol is not None:
        protocol(faults, rule.protocol)
    _icmp(faults, rule.icmp)
    if rule.not_protocol is not None:
        protocol(faults, rule.not_protocol)
    _icmp(faults, rule.not_icmp)
    _entity(faults, rule.source)
    _entity(faults, rule.destination)
    if rule.http is not None:
        _http(faults, rule.http)
    if rule.metadata is not None:
        metadata.check_annotations(faults, rule.metadata.annotations)
    _together(faults, rule)


def protocol(faults: Faults, found: Protocol) -> None:
    # A text that is no 8-bit number is a name.
    number = int(found) if isinstance(found, int) or (found.isdigit() and int(found) < 256) else None
    if number == 0:
        faults.add("Protocol", number, "protocol number invalid")
    elif number is None and found not in _PROTOCOLS:
        faults.add("Protocol", found, "protocol name invalid")


def port(faults: Faults, found: Port) -> None:
    """Ranges were checked when they were read."""
    if isinstance(found, str) and ":" not in found and not values.is_port_name(found):
        faults.tag("PortName", found, "portName")
    if found == 0 or (isinstance(found, str) and found.startswith("0:")):
        faults.add("Port", 0, "port range invalid, port number must be between 1 and 65535")


def _icmp(faults: Faults, icmp: ICMPFields | None) -> None:
    if icmp is None:
        return
    for name, found, most in (("Type", icmp.type, 254), ("Code", icmp.code, 255)):
        if found is not None and found < 0:
            faults.tag(name, found, "gte")
        elif found is not None and found > most:
            faults.tag(name, found, "lte")
    if icmp.code is not None and icmp.type is None:
        faults.add("Code", icmp.code, "ICMP code specified without an ICMP type")


def _entity(faults: Faults, entity: EntityRule) -> None:
    faults.each("Nets", entity.nets, "net", values.is_net)
    faults.field("Selector", entity.selector, "selector", values.is_selector)
    faults.field("NamespaceSelector", entity.namespace_selector, "selector", values.is_selector)
    if entity.services is not None:
        faults.field("Name", entity.services.name, "name", values.is_name)
        faults.field("Namespace", entity.services.namespace, "name", values.is_name)
    for each in entity.ports:
        port(faults, each)
    faults.each("NotNets", entity.not_nets, "net", values.is_net)
    faults.field("NotSelector", entity.not_selector, "selector", values.is_selector)
    for each in entity.not_ports:
        port(faults, each)
    if entity.service_accounts is not None:
        faults.field("Selector", entity.service_accounts.selector, "selector", values.is_selector)
    _entity_together(faults, entity)


def _entity_together(faults: Faults, entity: EntityRule) -> None:
    if GLOBAL in entity.selector:
        faults.add("Selector field", entity.selector, GLOBAL_ONLY_IN_NAMESPACES)
    if _GLOBAL_WITH_OTHERS.search(_canonical(entity.namespace_selector)):
        faults.add(
            "NamespaceSelector field",
            entity.namespace_selector,
            f"{GLOBAL} cannot be combined with other selectors",
        )
    services = entity.services
    if services is None:
        return
    for wrong, reason in (
        (not services.name, "must specify a service name"),
        (entity.namespace_selector, "cannot specify NamespaceSelector and Services on the same rule"),
        (
            entity.selector or entity.not_selector,
            "cannot specify Selector/NotSelector and Services on the same rule",
        ),
        (entity.service_accounts, "cannot specify ServiceAccounts and Services on the same rule"),
        (entity.nets or entity.not_nets, "cannot specify Nets/NotNets and Services on the same rule"),
    ):
        if wrong:
            faults.add("Services field", services, reason)


def _canonical(text: str) -> str:
    try:
        return selector.parse(text).text
    except selector.SelectorError:
        return ""


def _http(faults: Faults, http: HTTPMatch) -> None:
    if len(set(http.methods)) != len(http.methods):
        faults.add("Methods", http.methods, f"Invalid methods (duplicates): {go_text(http.methods)}")
    for path in http.paths:
        text = path.exact or path.prefix
        if path.exact and path.prefix:
            reason = "Invalid path match. Both 'exact' and 'prefix' are set"
        elif not text:
            reason = "Invalid path match. Either 'exact' or 'prefix' must be set"
        elif not text.startswith("/") or any(mark in text for mark in "? #"):
            reason = f"Invalid path {text}. (must start with `/` and not contain `?` or `#`"
        else:
            continue
        faults.add("Paths", http.paths, reason)
        return


def _together(faults: Faults, rule: Rule) -> None:
    if not values.supports_ports(rule.protocol):
        for name, ports in (
            ("Source.Ports", rule.source.ports),
            ("Source.NotPorts", rule.source.not_ports),
            ("Destination.Ports", rule.destination.ports),
            ("Destination.NotPorts", rule.destination.not_ports),
        ):
            if ports:
                faults.add(name, ports, _PORTS_RULE)
    if rule.http is not None and rule.protocol not in (None, "TCP"):
        faults.add(
            "Protocol", rule.protocol, "rules that specify HTTP fields must set protocol to TCP or empty"
        )
    if rule.icmp is not None and rule.protocol not in ("ICMP", "ICMPv6"):
        faults.add("ICMP", rule.icmp, "rules that specify ICMP fields must set protocol to ICMP")
    for name, version in (("ICMP", 4), ("ICMPv6", 6)):
        if name in (rule.protocol, rule.not_protocol) and rule.ip_version not in (None, version):
            reason = f"must set ipversion to '{version}' with protocol {name.lower()}"
            faults.add("IPVersion", rule.icmp, reason)
    _families(faults, rule)
    if rule.action != "Allow" and rule.http is not None:
        faults.add("HTTP", rule.http, "only valid for Allow rules")
    if rule.destination.services is not None:
        if rule.destination.ports:
            faults.add(
                "Destination.Ports", rule.destination.ports, "cannot specify ports with a service selector"
            )
        if rule.destination.not_ports:
            faults.add(
                "Destination.NotPorts",
                rule.destination.not_ports,
                "cannot specify notports with a service selector",
            )


def _families(faults: Faults, rule: Rule) -> None:
    seen: set[int] = set()
    for name, nets in (
        ("Source.Nets", rule.source.nets),
        ("Source.NotNets", rule.source.not_nets),
        ("Destination.Nets", rule.destination.nets),
        ("Destination.NotNets", rule.destination.not_nets),
    ):
        here: set[int] = set()
        for net in nets:
            found = values.parts(net) if "/" in net else None
            if found is None:
                faults.add(name, net, "invalid CIDR")
            else:
                here.add(found[0].version)
        if rule.ip_version is not None and here - {rule.ip_version}:
            faults.add(name, rule.source.nets, "rule IP version doesn't match CIDR version")
        if here and len(here | seen) > 1:
            faults.add(name, nets, "rule contains both IPv4 and IPv6 CIDRs")
        seen |= here
