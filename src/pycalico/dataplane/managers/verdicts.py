"""What policy says of an open connection: the rules judge its first packet only.

Of workloads; connections that only a host endpoint's policy concerns are let be.
"""

from __future__ import annotations

import ipaddress
import threading
from collections.abc import Iterable, Sequence
from typing import Any

from pycalico.calc.messages import (
    IPSetDelta,
    IPSetRemove,
    IPSetUpdate,
    PolicyID,
    PolicyRemove,
    PolicyUpdate,
    PortRange,
    ProfileRemove,
    ProfileUpdate,
    Rule,
    WorkloadEndpointID,
    WorkloadEndpointRemove,
    WorkloadEndpointUpdate,
)
from pycalico.dataplane.drivers.connections import Connection
from pycalico.dataplane.managers.plane import Handlers
from pycalico.kernel.interfaces import Interfaces

_NUMBERS = {"icmp": 1, "tcp": 6, "udp": 17, "icmpv6": 58, "sctp": 132, "udplite": 136}
_NAMES = {number: name for name, number in _NUMBERS.items()}
_FAMILIES = {1: 4, 58: 6}
_SETS = (
    "src_ip_set_ids", "dst_ip_set_ids", "not_src_ip_set_ids", "not_dst_ip_set_ids", "dst_ip_port_set_ids",
    "src_named_port_ip_set_ids", "dst_named_port_ip_set_ids",
    "not_src_named_port_ip_set_ids", "not_dst_named_port_ip_set_ids",
)  # fmt: skip


class Unknown(Exception):
    """Not all that a verdict needs is known yet."""


class _Set:
    """Members of one IP set, found by prefix length."""

    def __init__(self, members: Iterable[str]) -> None:
        self._members: set[str] = set()
        self._nets: dict[tuple[int, int], set[int]] = {}
        self.change(members, ())

    def change(self, added: Iterable[str], removed: Iterable[str]) -> None:
        for member in added:
            self._members.add(member)
            if "," not in member:
                place, number = _place(member)
                self._nets.setdefault(place, set()).add(number)
        for member in removed:
            self._members.discard(member)
            if "," not in member:
                place, number = _place(member)
                self._nets.get(place, set()).discard(number)

    def holds(self, family: int, address: int) -> bool:
        width = 32 if family == 4 else 128
        return any(
            address >> (width - length) << (width - length) in numbers
            for (of, length), numbers in self._nets.items()
            if of == family
        )

    def holds_port(self, member: str) -> bool:
        return member in self._members


def _place(net: str) -> tuple[tuple[int, int], int]:
    parsed = ipaddress.ip_network(net, strict=False)
    return (parsed.version, parsed.prefixlen), int(parsed.network_address)


class Verdicts:
    """Fed with the loop's messages; `settle` when all of them are in the kernel. Thread-safe."""

    def __init__(self, interfaces: Interfaces) -> None:
        self._interfaces = interfaces
        self._lock = threading.Lock()
        self._policies: dict[PolicyID, PolicyUpdate] = {}
        self._profiles: dict[str, ProfileUpdate] = {}
        self._sets: dict[str, _Set] = {}
        self._endpoints: dict[WorkloadEndpointID, WorkloadEndpointUpdate] = {}
        self._by_address: dict[str, WorkloadEndpointUpdate] = {}
        self._changed: set[object] = set()
        self._settled: set[str] = set()

    @property
    def handlers(self) -> Handlers:
        return {
            PolicyUpdate: lambda update: self._take(update.id, self._policies, update.id, update),
            PolicyRemove: lambda remove: self._take(remove.id, self._policies, remove.id, None),
            ProfileUpdate: lambda update: self._take(update.name, self._profiles, update.name, update),
            ProfileRemove: lambda remove: self._take(remove.name, self._profiles, remove.name, None),
            IPSetUpdate: lambda update: self._take(
                ("set", update.id), self._sets, update.id, _Set(update.members)
            ),
            IPSetDelta: self._on_delta,
            IPSetRemove: lambda remove: self._take(("set", remove.id), self._sets, remove.id, None),
            WorkloadEndpointUpdate: lambda update: self._take(update.id, self._endpoints, update.id, update),
            WorkloadEndpointRemove: lambda remove: self._take(remove.id, self._endpoints, remove.id, None),
        }

    def _take(self, changed: object, held: dict[Any, Any], key: object, value: object) -> None:
        with self._lock:
            if value is None:
                held.pop(key, None)
            else:
                held[key] = value
            self._changed.add(changed)

    def _on_delta(self, delta: IPSetDelta) -> None:
        with self._lock:
            found = self._sets.get(delta.id)
            if found:
                found.change(delta.added, delta.removed)
                self._changed.add(("set", delta.id))

    def resolve(self) -> None:
        """Nothing is left to do."""

    # ---- whom a change concerns

    def settle(self) -> bool:
        """What was told until now is in the kernel; True when connections are to be looked at."""
        with self._lock:
            if self._changed:
                self._by_address = {
                    net.partition("/")[0]: endpoint
                    for _, endpoint in sorted(self._endpoints.items(), reverse=True)
                    for net in (*endpoint.ipv4_nets, *endpoint.ipv6_nets)
                }
                for address, endpoint in self._by_address.items():
                    if self._is_concerned(endpoint):
                        self._settled.add(address)
                self._changed = set()
            return bool(self._settled)

    def _is_concerned(self, endpoint: WorkloadEndpointUpdate) -> bool:
        if endpoint.id in self._changed or not self._changed.isdisjoint(endpoint.profiles):
            return True
        for rules, identity in self._rules_of(endpoint):
            if identity in self._changed:
                return True
            for rule in rules:
                if any(
                    ("set", set_id) in self._changed for field in _SETS for set_id in getattr(rule, field)
                ):
                    return True
        return False

    def _rules_of(self, endpoint: WorkloadEndpointUpdate) -> Iterable[tuple[Sequence[Rule], object]]:
        for tier in endpoint.tiers:
            for name in {*tier.ingress, *tier.egress}:
                policy = self._policies.get(PolicyID(tier.tier, name))
                if policy:
                    yield (*policy.inbound, *policy.outbound), policy.id
        for name in endpoint.profiles:
            profile = self._profiles.get(name)
            if profile:
                yield (*profile.inbound, *profile.outbound), name

    def take_concerned(self) -> set[str]:
        """Addresses of workloads whose connections may be others' now."""
        with self._lock:
            found, self._settled = self._settled, set()
            return found

    # ---- verdicts

    def allows(self, connection: Connection) -> bool:
        """True, too, where it cannot be told."""
        with self._lock:
            try:
                return self._allows(connection)
            except Unknown:
                return True

    def _allows(self, connection: Connection) -> bool:
        source = self._by_address.get(connection.src)
        target = self._by_address.get(connection.end)
        if source and not self._passes(source, connection, inbound=False):
            return False
        # What the host itself sends to its pods is not judged.
        if target is None or (source is None and self._interfaces.is_own(connection.src)):
            return True
        return self._passes(target, connection, inbound=True)

    def _passes(self, endpoint: WorkloadEndpointUpdate, connection: Connection, *, inbound: bool) -> bool:
        if endpoint.state != "active":
            return False
        for tier in endpoint.tiers:
            names = tier.ingress if inbound else tier.egress
            if not names:
                continue
            verdict = self._verdict([PolicyID(tier.tier, name) for name in names], connection, inbound)
            if verdict != "pass":
                return verdict == "allow"
        for name in endpoint.profiles:
            profile = self._profiles.get(name)
            if profile is None:
                raise Unknown(name)
            verdict = self._first(profile.inbound if inbound else profile.outbound, connection)
            if verdict in {"allow", "deny"}:
                return verdict == "allow"
        return False

    def _verdict(self, ids: Iterable[PolicyID], connection: Connection, inbound: bool) -> str:
        for policy_id in ids:
            policy = self._policies.get(policy_id)
            if policy is None:
                raise Unknown(policy_id.name)
            verdict = self._first(policy.inbound if inbound else policy.outbound, connection)
            if verdict:
                return verdict
        return "deny"

    def _first(self, rules: Sequence[Rule], connection: Connection) -> str:
        for rule in rules:
            if rule.action != "log" and self._matches(rule, connection):
                return {"": "allow", "next-tier": "pass"}.get(rule.action, rule.action)
        return ""

    def _matches(self, rule: Rule, connection: Connection) -> bool:
        wanted = rule.ip_version or _FAMILIES.get(_number(rule.protocol))
        if wanted and wanted != connection.family:
            return False
        if rule.protocol is not None and _number(rule.protocol) != connection.protocol:
            return False
        if rule.not_protocol is not None and _number(rule.not_protocol) == connection.protocol:
            return False
        if not _icmp(rule.icmp_type, rule.icmp_code, connection, True):
            return False
        if rule.not_icmp_type is not None and _icmp(
            rule.not_icmp_type, rule.not_icmp_code, connection, False
        ):
            return False
        ports = connection.ports or (0, 0)
        return self._side(rule, "src", connection, connection.src, ports[0]) and self._side(
            rule, "dst", connection, connection.end, connection.end_port or ports[1]
        )

    def _side(self, rule: Rule, side: str, connection: Connection, text: str, port: int) -> bool:
        family, address = connection.family, int(ipaddress.ip_address(text))
        for field in (f"{side}_nets", f"not_{side}_nets"):
            nets = [net for net in getattr(rule, field) if (":" in net) == (family == 6)]
            if getattr(rule, field) and not nets:
                return False
            if nets and _Set(nets).holds(family, address) == field.startswith("not"):
                return False
        if not all(self._set(i).holds(family, address) for i in getattr(rule, f"{side}_ip_set_ids")):
            return False
        if any(self._set(i).holds(family, address) for i in getattr(rule, f"not_{side}_ip_set_ids")):
            return False
        member = f"{text},{_NAMES.get(connection.protocol, connection.protocol)}:{port}"
        if side == "dst" and not all(self._set(i).holds_port(member) for i in rule.dst_ip_port_set_ids):
            return False
        named = getattr(rule, f"{side}_named_port_ip_set_ids")
        numbers = getattr(rule, f"{side}_ports")
        if (numbers or named) and not self._has_port(numbers, named, port, member):
            return False
        return not self._has_port(
            getattr(rule, f"not_{side}_ports"),
            getattr(rule, f"not_{side}_named_port_ip_set_ids"),
            port,
            member,
        )

    def _has_port(self, numbers: Sequence[PortRange], named: Sequence[str], port: int, member: str) -> bool:
        return any(span.first <= port <= span.last for span in numbers) or any(
            self._set(set_id).holds_port(member) for set_id in named
        )

    def _set(self, set_id: str) -> _Set:
        found = self._sets.get(set_id)
        if found is None:
            raise Unknown(set_id)
        return found


def _number(protocol: str | int | None) -> int:
    if isinstance(protocol, str):
        return _NUMBERS.get(protocol.lower()) or int(protocol if protocol.isdigit() else -1)
    return -1 if protocol is None else protocol


def _icmp(kind: int | None, code: int | None, connection: Connection, default: bool) -> bool:
    if kind is None:
        return default
    if connection.icmp is None:
        return False
    return connection.icmp[0] == kind and code in {None, connection.icmp[1]}
