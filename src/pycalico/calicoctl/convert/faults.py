"""What a v1 resource may hold. Texts are upstream's (observed): a field that breaks its pattern has no reason."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Iterator
from typing import Any

from pycalico.api.validate import values
from pycalico.api.validate.faults import go_text
from pycalico.calicoctl.convert import legacy
from pycalico.calicoctl.convert.legacy import Entity, Legacy, LegacyPort, LegacyRule

_NAME = re.compile(r"[a-zA-Z0-9_.-]{1,128}")
_NAMESPACED = re.compile(r"[a-zA-Z0-9_./-]{1,128}")
_INTERFACE = re.compile(r"[a-zA-Z0-9_.-]{1,15}|\*")
_ACTION = re.compile(r"allow|deny|log|pass")
_PROTOCOLS = ("tcp", "udp", "icmp", "icmpv6", "sctp", "udplite")
_PORTED = ("tcp", "udp", "sctp", 6, 17, 132)
_PORTS_REASON = "rules that specify ports must set protocol to TCP or UDP or SCTP"
_LINK_LOCAL = {
    4: ("IPv4", ipaddress.ip_network("169.254.0.0/16")),
    6: ("IPv6", ipaddress.ip_network("fe80::/10")),
}
_LEAST_POOL = {4: 26, 6: 122}


class LegacyError(ValueError):
    """A v1 resource is not valid."""


def check(found: Legacy) -> None:
    """Raises LegacyError, which lists all faults."""
    faults = list(_faults(found))
    if len(faults) == 1:
        raise LegacyError(f"error with field {faults[0]}")
    if faults:
        raise LegacyError("error with the following fields:\n" + "".join(f"-  {each}\n" for each in faults))


def _faults(found: Legacy) -> Iterator[str]:
    match found:
        case legacy.Peer():
            yield from _peer(found)
        case legacy.Host():
            yield from _host(found)
        case legacy.Pool():
            yield from _pool(found)
        case legacy.LegacyNode():
            yield from _node(found)
        case legacy.Policy():
            yield from _policy(found)
        case legacy.LegacyProfile():
            yield from _named("Name", found.metadata.name, _NAMESPACED)
            for index, tag in enumerate(found.metadata.tags):
                yield from _named(f"Tags[{index}]", tag, _NAME)
            yield from _rules([*found.spec.ingress, *found.spec.egress])
        case legacy.Workload():
            yield from _workload(found)


def _fault(field: str, value: Any, reason: str = "") -> str:
    return f"{field} = '{go_text(value)}'" + (f" ({reason})" if reason else "")


def _named(field: str, value: str, pattern: re.Pattern[str]) -> Iterator[str]:
    if value and not pattern.fullmatch(value):
        yield _fault(field, value)


def _peer(found: legacy.Peer) -> Iterator[str]:
    meta = found.metadata
    if meta.scope not in ("", "global", "node"):
        yield _fault("Scope", meta.scope)
    yield from _named("Node", meta.node, _NAME)
    if meta.scope == "global" and meta.node:
        yield _fault(
            "Metadata.Node", meta.node, "no BGP Peer node name should be specified when scope is global"
        )


def _host(found: legacy.Host) -> Iterator[str]:
    yield from _named("Name", found.metadata.name, _NAMESPACED)
    yield from _named("Node", found.metadata.node, _NAME)
    spec = found.spec
    yield from _named("InterfaceName", spec.interface_name, _INTERFACE)
    yield from _profiles(spec.profiles)
    yield from _ports(spec.ports)
    if not spec.interface_name and not spec.expected_ips:
        yield _fault("InterfaceName", "", "no interface or expected IPs have been specified")


def _pool(found: legacy.Pool) -> Iterator[str]:
    spec = found.spec
    if spec.ipip is not None and spec.ipip.mode not in ("", "always", "cross-subnet"):
        yield _fault("Mode", spec.ipip.mode)
    if not found.metadata.cidr:
        return
    pool = ipaddress.ip_interface(found.metadata.cidr)
    network = pool.network
    if network.version == 6 and spec.ipip is not None and spec.ipip.enabled:
        yield _fault("IPIP.Enabled", value=True, reason="IPIP is not supported on an IPv6 IP pool")
    least = _LEAST_POOL[network.version]
    if not spec.disabled and network.prefixlen > least:
        yield _fault("CIDR", str(pool), f"IP pool size is too small (min /{least}) for use with Calico IPAM")
    if pool.ip != network.network_address:
        yield _fault("CIDR", str(pool), "IP pool CIDR is not strictly masked")
    name, reserved = _LINK_LOCAL[network.version]
    if network.overlaps(reserved):
        yield _fault("CIDR", str(pool), f"IP pool range overlaps with {name} Link Local range {reserved}")


def _node(found: legacy.LegacyNode) -> Iterator[str]:
    yield from _named("Name", found.metadata.name, _NAME)
    bgp = found.spec.bgp
    if bgp is None:
        return
    if not bgp.ipv4_address and not bgp.ipv6_address:
        yield _fault("BGP.IPv4Address", None, "no BGP IP address and subnet specified")
    for family, text in ((4, bgp.ipv4_address), (6, bgp.ipv6_address)):
        if text and ipaddress.ip_interface(text).version != family:
            yield _fault(f"BGP.IPv{family}Address", text, f"invalid IPv{family} address and subnet specified")


def _policy(found: legacy.Policy) -> Iterator[str]:
    spec = found.spec
    yield from _named("Name", found.metadata.name, _NAMESPACED)
    yield from _rules([*spec.ingress, *spec.egress])
    yield from _selector("Selector", spec.selector)
    for index, each in enumerate(spec.types):
        if each not in ("ingress", "egress"):
            yield _fault(f"Types[{index}]", each)
    if spec.do_not_track and spec.pre_dnat:
        yield _fault(
            "PolicySpec.PreDNAT", True, "PreDNAT and DoNotTrack cannot both be true, for a given PolicySpec"
        )
    if spec.pre_dnat and spec.egress:
        yield _fault("PolicySpec.EgressRules", spec.egress, "PreDNAT PolicySpec cannot have any EgressRules")
    if spec.pre_dnat and "egress" in spec.types:
        yield _fault("PolicySpec.Types", spec.types, "PreDNAT PolicySpec cannot have 'egress' Type")
    for index, each in enumerate(spec.types):
        if each in spec.types[:index]:
            yield _fault("PolicySpec.Types", spec.types, f"'{each}' type specified more than once")


def _workload(found: legacy.Workload) -> Iterator[str]:
    meta, spec = found.metadata, found.spec
    yield from _named("Name", meta.name, _NAMESPACED)
    yield from _named("Workload", meta.workload, _NAMESPACED)
    yield from _named("Orchestrator", meta.orchestrator, _NAMESPACED)
    yield from _named("Node", meta.node, _NAME)
    yield from _named("ActiveInstanceID", meta.active_instance_id, _NAME)
    for nat in spec.ip_nats:
        if (":" in nat.internal_ip) != (":" in nat.external_ip):
            yield _fault("ExternalIP", nat.external_ip, "mismatched IP versions")
    yield from _profiles(spec.profiles)
    if not _INTERFACE.fullmatch(spec.interface_name):
        yield _fault("InterfaceName", spec.interface_name)
    yield from _ports(spec.ports)
    networks = [ipaddress.ip_network(each, strict=False) for each in spec.ip_networks]
    for network in networks:
        if network.num_addresses != 1:
            yield _fault("IPNetworks", spec.ip_networks, "IP network contains multiple addresses")
    for family, text in ((4, spec.ipv4_gateway), (6, spec.ipv6_gateway)):
        if text and ipaddress.ip_address(text).version != family:
            yield _fault(f"IPv{family}Gateway", text, f"invalid IPv{family} gateway address specified")
    held = {str(network.network_address) for network in networks}
    if any(str(ipaddress.ip_address(nat.internal_ip)) not in held for nat in spec.ip_nats):
        yield _fault("IPNATs", spec.ip_nats, "NAT is not in the endpoint networks")


def _profiles(names: Iterable[str]) -> Iterator[str]:
    for index, each in enumerate(names):
        yield from _named(f"Profiles[{index}]", each, _NAMESPACED)


def _ports(ports: Iterable[LegacyPort]) -> Iterator[str]:
    for each in ports:
        if not _NAME.fullmatch(each.name):
            yield _fault("Name", each.name)
        if not each.port:
            yield _fault("Port", 0)
        if each.protocol not in ("tcp", "udp", "sctp"):
            yield _fault(
                "EndpointPort.Protocol",
                each.protocol,
                "EndpointPort protocol must be 'tcp' or 'udp' or 'sctp'.",
            )


def _rules(rules: Iterable[LegacyRule]) -> Iterator[str]:
    for rule in rules:
        if not _ACTION.fullmatch(rule.action):
            yield _fault("Action", rule.action)
        if rule.ip_version not in (None, 4, 6):
            yield _fault("IPVersion", rule.ip_version)
        for protocol in (rule.protocol, rule.not_protocol):
            if isinstance(protocol, str) and protocol not in _PROTOCOLS:
                yield _fault("Protocol", protocol, "protocol name invalid")
            elif protocol == 0:
                yield _fault("Protocol", 0, "protocol number invalid")
        for icmp in (rule.icmp, rule.not_icmp):
            if icmp is not None and icmp.code is not None and icmp.type is None:
                yield _fault("Code", icmp.code, "ICMP code specified without an ICMP type")
        for side in (rule.source, rule.destination):
            yield from _entity(side)
        yield from _sides(rule)


def _entity(side: Entity) -> Iterator[str]:
    yield from _named("Tag", side.tag, _NAME)
    yield from _selector("Selector", side.selector)
    yield from _named("NotTag", side.not_tag, _NAME)
    yield from _selector("NotSelector", side.not_selector)


def _selector(field: str, text: str) -> Iterator[str]:
    if text and not values.is_selector(text):
        yield _fault(field, text)


def _sides(rule: LegacyRule) -> Iterator[str]:
    sides = (("Source", rule.source), ("Destination", rule.destination))
    if rule.protocol not in _PORTED:
        for name, side in sides:
            for field, ports in (("Ports", side.ports), ("NotPorts", side.not_ports)):
                if ports:
                    yield _fault(f"{name}.{field}", ports, _PORTS_REASON)
    single = any(side.net or side.not_net for _, side in sides)
    if single and any(side.nets or side.not_nets for _, side in sides):
        yield _fault(
            "Source/Destination.Net/Nets", rule.source.nets, "only one of Net and Nets fields allowed"
        )
    seen: set[int] = set()
    for name, side in sides:
        for field, nets in (
            ("Net(s)", [side.net, *side.nets]),
            ("NotNet(s)", [side.not_net, *side.not_nets]),
        ):
            found = {6 if ":" in net else 4 for net in nets if net}
            if rule.ip_version is not None and found - {rule.ip_version}:
                yield _fault(f"{name}.{field}", side.net, "rule IP version doesn't match CIDR version")
            if len(found | seen) > 1 and found:
                shown = [net for net in nets if net]
                yield _fault(f"{name}.{field}", shown, "rule contains both IPv4 and IPv6 CIDRs")
            seen |= found
