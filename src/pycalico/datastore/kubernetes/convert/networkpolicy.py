"""A Kubernetes NetworkPolicy in Calico's form."""

from __future__ import annotations

import ipaddress
import logging
from collections.abc import Callable, Iterable, Sequence

import msgspec

from pycalico.api.meta import ObjectMeta
from pycalico.api.rule import EntityRule, Port, Rule
from pycalico.api.v3.networkpolicy import KubernetesNetworkPolicy, NetworkPolicySpec
from pycalico.datastore.kubernetes.convert import uid
from pycalico.datastore.kubernetes.core import LabelSelector, NetworkPolicy, PolicyPeer, PolicyPort

NAME_PREFIX = "knp.default."
_ORDER = 1000.0
_PORT_MOST = 65535

log = logging.getLogger(__name__)


def from_kubernetes(
    policy: NetworkPolicy, dropped: Callable[[str], None] | None = None
) -> KubernetesNetworkPolicy:
    """A rule that cannot be converted is dropped with a warning, and ``dropped`` told why; the others stay."""
    meta, spec = policy.metadata, policy.spec
    tell = dropped or (lambda _: None)
    ingress = _rules(policy, [(rule.from_, rule.ports) for rule in spec.ingress or []], tell, ingress=True)
    egress = _rules(policy, [(rule.to, rule.ports) for rule in spec.egress or []], tell, ingress=False)
    types: list[str] = [name for name in ("Ingress", "Egress") if name in (spec.policy_types or [])]
    return KubernetesNetworkPolicy(
        metadata=ObjectMeta(
            name=NAME_PREFIX + meta.name,
            namespace=meta.namespace,
            uid=uid.reverse(meta.uid) if meta.uid else "",
            creation_timestamp=meta.creation_timestamp,
            resource_version=meta.resource_version,
        ),
        spec=NetworkPolicySpec(
            order=_ORDER,
            selector=pod_selector(spec.pod_selector),
            ingress=ingress,
            egress=egress,
            types=types or ["Ingress"],
        ),
    )


def pod_selector(selector: LabelSelector | None) -> str:
    return " && ".join(["projectcalico.org/orchestrator == 'k8s'", *_terms(selector)])


def namespace_selector(selector: LabelSelector | None) -> str:
    """None stands for the policy's own namespace and gives empty text; an empty selector means all namespaces."""
    if selector is None:
        return ""
    return " && ".join(_terms(selector)) or "all()"


def _terms(selector: LabelSelector | None) -> Iterable[str]:
    if selector is None:
        return
    for key, value in sorted((selector.match_labels or {}).items()):
        yield f"{key} == '{value}'"
    for term in selector.match_expressions or []:
        values = "', '".join(term.values or [])
        if term.operator == "In":
            yield f"{term.key} in {{ '{values}' }}"
        elif term.operator == "NotIn":
            yield f"{term.key} not in {{ '{values}' }}"
        elif term.operator == "Exists":
            yield f"has({term.key})"
        elif term.operator == "DoesNotExist":
            yield f"! has({term.key})"


def _rules(
    policy: NetworkPolicy,
    parts: Sequence[tuple[list[PolicyPeer] | None, list[PolicyPort] | None]],
    dropped: Callable[[str], None],
    *,
    ingress: bool,
) -> list[Rule]:
    rules: list[Rule] = []
    for peers, ports in parts:
        try:
            rules += _rule(peers or [], ports or [], ingress=ingress)
        except ValueError as error:
            name = f"{policy.metadata.namespace}/{policy.metadata.name}"
            log.warning("dropping a rule of NetworkPolicy %s that cannot be converted: %s", name, error)
            dropped(f"{'ingress' if ingress else 'egress'} rule dropped: {error}")
    return rules


def _rule(peers: list[PolicyPeer], ports: list[PolicyPort], *, ingress: bool) -> Iterable[Rule]:
    """One rule per protocol and peer."""
    entities = [_entity(peer) for peer in peers] or [EntityRule()]
    built: list[Rule] = []
    for protocol, numbers in _by_protocol(ports):
        for entity in entities:
            if ingress:
                source, destination = entity, EntityRule(ports=list(numbers))
            else:
                source = EntityRule()
                destination = msgspec.structs.replace(entity, ports=list(numbers))
            built.append(Rule(action="Allow", protocol=protocol, source=source, destination=destination))
    return built


def _entity(peer: PolicyPeer) -> EntityRule:
    if peer.ip_block is not None:
        return EntityRule(
            nets=[_net(peer.ip_block.cidr)],
            not_nets=[_net(cidr) for cidr in peer.ip_block.except_ or []],
        )
    return EntityRule(
        selector=pod_selector(peer.pod_selector),
        namespace_selector=namespace_selector(peer.namespace_selector),
    )


def _net(cidr: str) -> str:
    return str(ipaddress.ip_network(cidr, strict=False))


def _by_protocol(ports: list[PolicyPort]) -> list[tuple[str | None, Sequence[Port]]]:
    """Protocols in order with their ports; an entry without a port opens its whole protocol."""
    if not ports:
        return [(None, ())]
    found: dict[str, list[Port] | None] = {}
    for port in ports:
        protocol = port.protocol or "TCP"
        if port.port is None:
            found[protocol] = None
        elif protocol not in found or found[protocol] is not None:
            found.setdefault(protocol, [])
            listed = found[protocol]
            if listed is not None:
                listed.append(_port(port))
    return [(protocol, merge_ports(found[protocol] or [])) for protocol in sorted(found)]


def _port(port: PolicyPort) -> Port:
    if isinstance(port.port, str) and not port.port.isdigit():
        if port.end_port is not None:
            raise ValueError(f"endPort needs a numeric port, not {port.port!r}")
        return port.port
    first = int(port.port or 0)
    last = port.end_port if port.end_port is not None else first
    if not 0 <= first <= last <= _PORT_MOST:
        raise ValueError(f"port range {first}:{last} is not within 0..{_PORT_MOST} in ascending order")
    return first if first == last else f"{first}:{last}"


def merge_ports(ports: list[Port]) -> list[Port]:
    """Named ports first, then the fewest ascending ranges that cover the numbers."""
    if len(ports) <= 1:
        return ports
    named = [port for port in ports if isinstance(port, str) and ":" not in port]
    ranges = sorted(_bounds(port) for port in ports if not (isinstance(port, str) and ":" not in port))
    merged: list[tuple[int, int]] = []
    for first, last in ranges:
        if merged and first <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(last, merged[-1][1]))
        else:
            merged.append((first, last))
    return [*named, *(first if first == last else f"{first}:{last}" for first, last in merged)]


def _bounds(port: Port) -> tuple[int, int]:
    if isinstance(port, int):
        return port, port
    first, last = port.split(":")
    return int(first), int(last)
