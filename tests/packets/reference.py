"""What Calico's documentation says about a packet, computed from the resources as written.

No incremental state, no sets, no chains, nothing of ``pycalico``: every question goes through all resources anew.
"""

import ipaddress
from dataclasses import dataclass
from functools import lru_cache

from expressions import predicate

NAMESPACE = "projectcalico.org/namespace"
ACCOUNT = "projectcalico.org/serviceaccount"
FAILSAFE_IN = {("tcp", p) for p in (22, 179, 2379, 2380, 5473, 6443, 6666, 6667)} | {("udp", 68)}
FAILSAFE_OUT = {("tcp", p) for p in (179, 2379, 2380, 5473, 6443, 6666, 6667)} | {("udp", 53), ("udp", 67)}
NUMBERS = {"icmp": 1, "tcp": 6, "udp": 17, "icmpv6": 58, "sctp": 132, "udplite": 136}
ALLOW, DENY, PASS = "allow", "deny", "pass"
HOST = "host"


@dataclass(frozen=True)
class Packet:
    """``protocol`` is tcp, udp, sctp, icmp or icmpv6; of ports and ICMP fields only those that it has count."""

    src: str
    dst: str
    protocol: str
    sport: int = 0
    dport: int = 0
    icmp_type: int = 0
    icmp_code: int = 0

    @property
    def version(self):
        return 6 if ":" in self.src else 4


@lru_cache(maxsize=65536)
def _address(text):
    return ipaddress.ip_address(text)


@lru_cache(maxsize=65536)
def _network(text):
    return ipaddress.ip_network(text, strict=False)


def _within(address, nets):
    return any(_address(address) in _network(net) for net in nets)


class Member:
    """Somebody whom selectors can mean: a workload, a host endpoint or a network set."""

    def __init__(self, labels, nets, ports=(), profiles=(), inherited=None):
        self.labels = dict(labels)
        for profile in profiles:
            for key, value in (inherited or {}).get(profile, {}).items():
                self.labels.setdefault(key, value)
        self.nets = nets
        self.profiles = profiles
        self.ports = [(p["name"], str(p["protocol"]).lower(), p["port"]) for p in ports]

    def has_port(self, name, packet, address, number):
        return any(
            n == name and proto == packet.protocol and port == number for n, proto, port in self.ports
        ) and _within(address, self.nets)


class Reference:
    """``resources``: all of them, as applied. ``node`` is the one that decides."""

    def __init__(self, resources, node, endpoint_to_host="DROP", slices=()):
        self.node = node
        self.endpoint_to_host = endpoint_to_host
        of_kind = {}
        for resource in resources:
            of_kind.setdefault(resource["kind"], []).append(resource)
        self.profiles = {r["metadata"]["name"]: r["spec"] for r in of_kind.get("Profile", ())}
        inherited = {name: spec.get("labelsToApply", {}) for name, spec in self.profiles.items()}
        self.members = []
        self.workloads = {}
        for r in of_kind.get("WorkloadEndpoint", ()):
            meta, spec = r["metadata"], r["spec"]
            labels = {**meta.get("labels", {}), NAMESPACE: meta["namespace"]}
            if spec.get("serviceAccountName"):
                labels[ACCOUNT] = spec["serviceAccountName"]
            member = Member(
                labels, spec["ipNetworks"], spec.get("ports", ()), spec.get("profiles", ()), inherited
            )
            self.members.append(member)
            if spec["node"] == node:
                self.workloads[spec["interfaceName"]] = member
        self.hosts = []
        for r in sorted(of_kind.get("HostEndpoint", ()), key=lambda r: r["metadata"]["name"]):
            meta, spec = r["metadata"], r["spec"]
            member = Member(
                meta.get("labels", {}),
                spec.get("expectedIPs", []),
                spec.get("ports", ()),
                spec.get("profiles", ()),
                inherited,
            )
            self.members.append(member)
            if spec["node"] == node:
                self.hosts.append((spec.get("interfaceName", ""), spec.get("expectedIPs", []), member))
        for r in of_kind.get("GlobalNetworkSet", ()):
            self.members.append(Member(r["metadata"].get("labels", {}), r["spec"]["nets"]))
        for r in of_kind.get("NetworkSet", ()):
            namespace = r["metadata"]["namespace"]
            labels = {**r["metadata"].get("labels", {}), NAMESPACE: namespace}
            self.members.append(Member(labels, r["spec"]["nets"], (), (f"kns.{namespace}",), inherited))
        self.slices = list(slices)
        policies = of_kind.get("GlobalNetworkPolicy", []) + of_kind.get("NetworkPolicy", [])
        self.policies = sorted(policies, key=_rank)
        self._lists = {}

    # ---- who is subject to what

    def host_endpoint(self, interface, addresses, *, wildcard=True):
        for name, _, member in self.hosts:
            if name == interface:
                return member
        for name, expected, member in self.hosts:
            if not name and set(expected) & set(addresses):
                return member
        for name, _, member in self.hosts:
            if name == "*" and wildcard:
                return member
        return None

    def _applies(self, policy, member):
        spec, namespace = policy["spec"], policy["metadata"].get("namespace")
        labels = member.labels
        if namespace is not None and labels.get(NAMESPACE) != namespace:
            return False
        where, accounts = spec.get("namespaceSelector"), spec.get("serviceAccountSelector")
        everything = NAMESPACE if where else ACCOUNT if accounts and namespace is None else None
        if not predicate(spec.get("selector", ""), everything)(labels):
            return False
        if where and not _in_namespace(where, labels):
            return False
        return not accounts or _of_account(accounts, labels, ACCOUNT if namespace is None else None)

    def _policies(self, member, direction, kind):
        """``kind``: untracked, pre_dnat, normal or forward."""
        key = (id(member), direction, kind)
        if key not in self._lists:
            self._lists[key] = [
                policy
                for policy in self.policies
                if _is(policy["spec"], kind)
                and direction.capitalize() in policy["spec"].get("types", ["Ingress", "Egress"])
                and self._applies(policy, member)
            ]
        return self._lists[key]

    # ---- verdicts

    def _policed(self, member, direction, kind, packet):
        """(verdict or None, whether any policy applied)."""
        policies = self._policies(member, direction, kind)
        for policy in policies:
            namespace = policy["metadata"].get("namespace")
            for rule in policy["spec"].get(direction, ()):
                if self.matches(rule, packet, namespace):
                    action = rule["action"].lower()
                    if action != "log":
                        return action, True
        return None, bool(policies)

    def _endpoint_allows(self, member, direction, packet):
        """A workload, or a host endpoint for its own traffic."""
        verdict, any_policy = self._policed(member, direction, "normal", packet)
        if verdict in (ALLOW, DENY):
            return verdict == ALLOW
        if any_policy and verdict != PASS:
            return False
        for name in member.profiles:
            if name == "projectcalico-default-allow":
                return True
            if name not in self.profiles:
                return False
            for rule in self.profiles[name].get(direction, ()):
                if self.matches(rule, packet, None) and rule["action"] != "Log":
                    return rule["action"] == "Allow"
        return False

    def _forward_allows(self, member, direction, packet):
        verdict, any_policy = self._policed(member, direction, "forward", packet)
        return verdict in (ALLOW, PASS) or (verdict is None and not any_policy)

    def decide(self, packet, origin, target, addresses):
        """Whether the packet arrives.

        ``origin`` and ``target`` are HOST or the node's interface that leads there; ``addresses`` gives those
        of each host interface.
        """
        wl_from, wl_to = self.workloads.get(origin), self.workloads.get(target)
        welcome = False  # a host endpoint's untracked or pre-DNAT policy said yes
        if origin != HOST:
            named = self.host_endpoint(origin, addresses.get(origin, ()), wildcard=False)
            door = self.host_endpoint(origin, addresses.get(origin, ()))
            if named and not _is_failsafe_untracked(packet, inbound=True):
                verdict, _ = self._policed(named, "ingress", "untracked", packet)
                if verdict == DENY:
                    return False
                welcome = verdict == ALLOW
            if not welcome and door and (packet.protocol, packet.dport) not in FAILSAFE_IN:
                verdict, _ = self._policed(door, "ingress", "pre_dnat", packet)
                if verdict == DENY:
                    return False
                welcome = verdict == ALLOW
            if target == HOST:
                return self._to_host(packet, wl_from, door, welcome)
            if door and not welcome and not self._forward_allows(door, "ingress", packet):
                return False
            if wl_from and not self._endpoint_allows(wl_from, "egress", packet):
                return False
            if wl_to and not self._endpoint_allows(wl_to, "ingress", packet):
                return False
            out = self.host_endpoint(target, addresses.get(target, ()))
            return out is None or self._forward_allows(out, "egress", packet)
        if wl_to:
            return True  # a node may always reach its own workloads
        return self._from_host(packet, target, addresses)

    def _to_host(self, packet, workload, door, welcome):
        if workload:
            return self._endpoint_allows(workload, "egress", packet) and self.endpoint_to_host != "DROP"
        if welcome or door is None or (packet.protocol, packet.dport) in FAILSAFE_IN:
            return True
        return self._endpoint_allows(door, "ingress", packet)

    def _from_host(self, packet, target, addresses):
        named = self.host_endpoint(target, addresses.get(target, ()), wildcard=False)
        if named and not _is_failsafe_untracked(packet, inbound=False):
            verdict, _ = self._policed(named, "egress", "untracked", packet)
            if verdict in (ALLOW, DENY):
                return verdict == ALLOW
        door = self.host_endpoint(target, addresses.get(target, ()))
        if door is None or (packet.protocol, packet.dport) in FAILSAFE_OUT:
            return True
        return self._endpoint_allows(door, "egress", packet)

    # ---- rules

    def matches(self, rule, packet, namespace):
        if rule.get("ipVersion") not in (None, packet.version):
            return False
        protocol = _protocol(rule.get("protocol"))
        if protocol is not None and protocol != NUMBERS[packet.protocol]:
            return False
        if rule.get("notProtocol") is not None and _protocol(rule["notProtocol"]) == NUMBERS[packet.protocol]:
            return False
        if rule.get("icmp") and not _icmp(rule["icmp"], packet):
            return False
        if rule.get("notICMP") and _icmp(rule["notICMP"], packet):
            return False
        return self._side(rule.get("source", {}), packet, packet.src, packet.sport, namespace) and self._side(
            rule.get("destination", {}), packet, packet.dst, packet.dport, namespace
        )

    def _side(self, side, packet, address, number, namespace):
        for name, wanted in (("nets", True), ("notNets", False)):
            given = [net for net in side.get(name, ()) if (":" in net) == (packet.version == 6)]
            if side.get(name) and not given:
                return False  # CIDRs of one IP version make the rule one for that version
            if given and _within(address, given) != wanted:
                return False
        meant = [m for m in self.members if self._means(side, m, namespace)]
        selects = any(
            side.get(name)
            for name in ("selector", "namespaceSelector", "serviceAccounts")
        ) or (bool(side.get("notSelector")) and namespace is not None)  # fmt: skip
        if selects:
            if not any(_within(address, member.nets) for member in meant):
                return False
        elif side.get("notSelector"):
            unwanted = [m for m in self.members if predicate(side["notSelector"])(m.labels)]
            if any(_within(address, member.nets) for member in unwanted):
                return False
        candidates = meant if selects else self.members
        if side.get("services") and not self._service(side["services"], packet, address, number):
            return False
        if side.get("ports") and not self._port(side["ports"], packet, address, number, candidates):
            return False
        return not (
            side.get("notPorts") and self._port(side["notPorts"], packet, address, number, candidates)
        )

    def _means(self, side, member, namespace):
        labels = member.labels
        if side.get("namespaceSelector"):
            if not _in_namespace(side["namespaceSelector"], labels):
                return False
        elif namespace is not None and labels.get(NAMESPACE) != namespace:
            return False
        accounts = side.get("serviceAccounts")
        if accounts:
            if accounts.get("names") and labels.get(ACCOUNT) not in accounts["names"]:
                return False
            if accounts.get("selector") and not _of_account(accounts["selector"], labels, None):
                return False
        if side.get("selector") and not predicate(side["selector"])(labels):
            return False
        return not (side.get("notSelector") and predicate(side["notSelector"])(labels))

    def _port(self, ports, packet, address, number, candidates):
        for port in ports:
            if isinstance(port, int):
                if port == number:
                    return True
            elif ":" in port:
                low, high = port.split(":")
                if int(low) <= number <= int(high):
                    return True
            elif any(member.has_port(port, packet, address, number) for member in candidates):
                return True
        return False

    def _service(self, service, packet, address, number):
        """``slices``: (namespace/name, address, protocol, port)."""
        name = f"{service['namespace']}/{service['name']}"
        return (name, address, packet.protocol, number) in self.slices


def _rank(policy):
    meta = policy["metadata"]
    order = policy["spec"].get("order")
    name = f"default.{meta['name']}"
    if meta.get("namespace"):
        name = f"{meta['namespace']}/{name}"
    return (order is None, order or 0, name.encode())


def _is(spec, kind):
    untracked, pre_dnat = spec.get("doNotTrack", False), spec.get("preDNAT", False)
    if kind == "untracked":
        return untracked
    if kind == "pre_dnat":
        return pre_dnat
    return not (untracked or pre_dnat) and (kind == "normal" or spec.get("applyOnForward", False))


def _prefixed(labels, prefix, kept):
    found = {key.removeprefix(prefix): value for key, value in labels.items() if key.startswith(prefix)}
    # Which one it is, or whether there is any, all() and global() may ask.
    return {**found, **({kept: labels[kept]} if kept in labels else {})}


def _in_namespace(selector, labels):
    """What has no namespace has none of its labels: a selector that asks for no label takes it in."""
    return predicate(selector, NAMESPACE)(_prefixed(labels, "pcns.", NAMESPACE))


def _of_account(selector, labels, everything):
    return predicate(selector, everything)(_prefixed(labels, "pcsa.", ACCOUNT))


def _protocol(given):
    if given is None or isinstance(given, int):
        return given
    return NUMBERS[given.lower()]


def _icmp(wanted, packet):
    if packet.protocol not in ("icmp", "icmpv6"):
        return False
    return wanted.get("type") in (None, packet.icmp_type) and wanted.get("code") in (None, packet.icmp_code)


def _is_failsafe_untracked(packet, *, inbound):
    """Without connection tracking both directions of a failsafe port must pass."""
    ours, others = (FAILSAFE_IN, FAILSAFE_OUT) if inbound else (FAILSAFE_OUT, FAILSAFE_IN)
    return (packet.protocol, packet.dport) in ours or (packet.protocol, packet.sport) in others
