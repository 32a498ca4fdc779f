"""Random worlds: endpoints, sets and policies of every kind that decides about packets, from one seed."""

from random import Random

from reference import Packet
from underlay import HOST, Place

NODE = "fx"
NAMESPACES = ("default", "blue", "red")
PODS = [
    Place(
        f"{namespace}/{name}",
        f"cali{number % 2}{namespace[0]}{name}",
        (f"10.65.0.{number + 10}",),
        (f"fd65::{number + 10:x}",),
        f"02:00:00:00:00:{number + 10:02x}",
    )
    for number, (namespace, name) in enumerate((ns, pod) for ns in NAMESPACES for pod in "abc")
]
OUTSIDE = [
    Place("out0", "eth0", ("10.0.0.2", "10.0.0.3", "10.0.0.77"), ("fd10::2", "fd10::3", "fd10::77")),
    Place("out1", "eth1", ("10.1.0.2", "10.1.0.99"), ("fd11::2", "fd11::99")),
]
HOST_ADDRESSES = {"eth0": ["10.0.0.1/24", "fd10::1/64"], "eth1": ["10.1.0.1/24", "fd11::1/64"]}
PORTS = (22, 53, 80, 179, 443, 1000, 1024, 2379, 5473, 8080, 8081, 9000, 65535)
PORT_NAMES = ("http", "dns", "metrics")
PROTOCOLS = {4: ("tcp", "udp", "sctp", "icmp"), 6: ("tcp", "udp", "sctp", "icmpv6")}
_VALUES = {"app": ("a", "b", "c"), "role": ("front", "back"), "team-x/zone": ("1", "12", "2")}
_ENVS = ("prod", "dev")
_ACCOUNTS = ("default", "robot")
_TEAMS = ("ops", "web")
_NETS = {
    4: (
        "10.65.0.0/16", "10.65.0.8/29", "10.65.0.16/32", "10.0.0.0/24", "10.0.0.2/32", "10.0.0.64/26", "10.1.0.0/16",
        "0.0.0.0/0", "10.65.0.12/30", "10.0.0.1/32", "128.0.0.0/1",
    ),
    6: ("fd65::/64", "fd65::8/125", "fd65::10/128", "fd10::/64", "fd10::2/128", "fd11::/16", "::/0", "fd10::1/128"),
}  # fmt: skip


def _resource(kind, name, spec, namespace=None, labels=None):
    meta = {"name": name}
    if namespace is not None:
        meta["namespace"] = namespace
    if labels:
        meta["labels"] = labels
    return {"apiVersion": "projectcalico.org/v3", "kind": kind, "metadata": meta, "spec": spec}


class World:
    """One seed's dice. Each call of ``resources`` throws them anew."""

    def __init__(self, seed):
        self.dice = Random(seed)

    def _chance(self, share):
        return self.dice.random() < share

    def _pick(self, *choices):
        return self.dice.choice(choices)

    def _some(self, items, least, most):
        return self.dice.sample(list(items), self.dice.randint(least, min(most, len(items))))

    def _labels(self):
        return {key: self.dice.choice(values) for key, values in _VALUES.items() if self._chance(0.75)}

    # ---- selectors

    def selector(self, depth=2, values=_VALUES):
        roll = self.dice.random()
        if depth and roll < 0.3:
            joined = self._pick(" && ", " || ").join(self.selector(depth - 1, values) for _ in range(2))
            return f"({joined})" if self._chance(0.6) else joined
        if depth and roll < 0.4:
            return f"!({self.selector(depth - 1, values)})"
        key = self.dice.choice(list(values))
        value = self.dice.choice((*values[key], "nobody"))
        several = ", ".join(f"'{item}'" for item in self._some(values[key], 1, 3))
        return self._pick(
            f"{key} == '{value}'",
            f"{key} == '{value}'",
            f'{key} != "{value}"',
            f"{key} in {{{several}}}",
            f"{key} not in {{{several}}}",
            f"has({key})",
            f"!has({key})",
            f"{key} contains '{value[0]}'",
            f"{key} starts with '{value[0]}'",
            f"{key} ends with '{value[-1]}'",
            "all()",
        )

    def _namespace_selector(self, *more):
        named = {"env": _ENVS, "projectcalico.org/name": NAMESPACES}
        return self._pick("all()", *more, self.selector(1, named), self.selector(0, named))

    # ---- who there is

    def standing(self):
        """What every world has: the node, profiles of namespaces and accounts."""
        yield _resource("Node", NODE, {"bgp": {"ipv4Address": "10.0.0.1/24", "ipv6Address": "fd10::1/64"}})

    def profiles(self):
        for namespace in NAMESPACES:
            labels = {"pcns.projectcalico.org/name": namespace}
            if self._chance(0.7):
                labels["pcns.env"] = self.dice.choice(_ENVS)
            spec = {"labelsToApply": labels}
            for direction in ("ingress", "egress"):
                allow = [{"action": "Allow"}]
                odd = self.rules(direction, None, ("Allow", "Deny", "Log"), most=2) + allow
                spec[direction] = odd if self._chance(0.25) else self._pick(allow, allow, allow, [])
            yield _resource("Profile", f"kns.{namespace}", spec)
            for account in _ACCOUNTS:
                labels = {"pcsa.projectcalico.org/name": account}
                if self._chance(0.6):
                    labels["pcsa.team"] = self.dice.choice(_TEAMS)
                yield _resource("Profile", f"ksa.{namespace}.{account}", {"labelsToApply": labels})

    def _ports(self):
        return [
            {
                "name": name,
                "protocol": self._pick("TCP", "TCP", "UDP", "SCTP"),
                "port": self.dice.choice(PORTS),
            }
            for name in self._some(PORT_NAMES, 0, 3)
        ]

    def workloads(self):
        for place in PODS:
            namespace, pod = place.name.split("/")
            account = self.dice.choice(_ACCOUNTS)
            profiles = [f"kns.{namespace}", f"ksa.{namespace}.{account}"]
            if self._chance(0.05):
                profiles.insert(0, "nobody-made-this")
            spec = {
                "node": NODE, "orchestrator": "k8s", "endpoint": "eth0", "pod": pod, "containerID": f"c{pod}",
                "interfaceName": place.interface, "mac": place.mac, "serviceAccountName": account,
                "ipNetworks": [f"{place.ipv4[0]}/32", f"{place.ipv6[0]}/128"],
                "profiles": profiles, "ports": self._ports(),
            }  # fmt: skip
            yield _resource(
                "WorkloadEndpoint", f"{NODE}-k8s-{pod}-eth0", spec, namespace, {**self._labels(), "pod": pod}
            )

    def host_endpoints(self):
        shape = self._pick("none", "none", "eth0", "both", "all", "all+eth0", "addresses")
        chosen = {
            "none": [],
            "eth0": [("h0", "eth0", [])],
            "both": [("h0", "eth0", ["10.0.0.1", "fd10::1"]), ("h1", "eth1", [])],
            "all": [("h9", "*", [])],
            "all+eth0": [("h9", "*", []), ("h0", "eth0", [])],
            "addresses": [("h1", "", ["10.1.0.1"]), ("h2", "eth0", [])],
        }[shape]
        for name, interface, addresses in chosen:
            spec = {"node": NODE, "expectedIPs": addresses, "ports": self._ports()}
            if interface:
                spec["interfaceName"] = interface
            spec["profiles"] = self._pick(
                [], ["projectcalico-default-allow"], ["projectcalico-default-allow"], ["kns.blue"]
            )
            yield _resource("HostEndpoint", name, spec, None, {**self._labels(), "host": "yes"})

    def sets(self):
        for number in range(self.dice.randint(0, 3)):
            nets = [*self._some(_NETS[4], 0, 3), *self._some(_NETS[6], 0, 3)]
            namespace = self._pick(None, *NAMESPACES)
            kind = "GlobalNetworkSet" if namespace is None else "NetworkSet"
            yield _resource(kind, f"set{number}", {"nets": nets}, namespace, self._labels())

    # ---- rules

    def rules(self, direction, namespace, actions, most=4):
        return [self._rule(direction, namespace, actions) for _ in range(self.dice.randint(0, most))]

    def _rule(self, direction, namespace, actions):
        rule = {"action": self.dice.choice(actions)}
        protocol = None
        roll = self.dice.random()
        if roll < 0.6:
            protocol = rule["protocol"] = self._pick(
                "TCP", "TCP", "UDP", "SCTP", "ICMP", "ICMPv6", 6, 17, 132
            )
        elif roll < 0.7:
            rule["notProtocol"] = protocol = self._pick("TCP", "UDP", "SCTP", "ICMP", "ICMPv6", 17)
        version = {"ICMP": 4, "ICMPv6": 6}.get(protocol)
        if version or self._chance(0.08):
            version = rule["ipVersion"] = version or self._pick(4, 6)
        if protocol in ("ICMP", "ICMPv6") and "protocol" in rule:
            for field in ("icmp", "notICMP"):
                if self._chance(0.4):
                    types = (8, 13, 17) if protocol == "ICMP" else (128,)
                    rule[field] = {"type": self.dice.choice(types)}
                    if self._chance(0.4):
                        rule[field]["code"] = self._pick(0, 1)
        version = version or self._pick(4, 6)  # CIDRs of one version only in a rule
        with_ports = rule.get("protocol") in ("TCP", "UDP", "SCTP", 6, 17, 132)
        for side in ("source", "destination"):
            entity = self._entity(namespace, version, with_ports, far=(side == "destination"))
            if entity:
                rule[side] = entity
        return rule

    def _entity(self, namespace, version, with_ports, *, far):
        entity = {}
        if self._chance(0.18):
            entity["nets"] = self._some(_NETS[version], 1, 4)
        if self._chance(0.12):
            entity["notNets"] = self._some(_NETS[version][:-2], 1, 3)
        if self._chance(0.3):
            entity["selector"] = self.selector()
        if self._chance(0.12):
            entity["notSelector"] = self.selector(1)
        if self._chance(0.15):
            entity["namespaceSelector"] = self._namespace_selector("global()")
        if self._chance(0.1) and entity.get("namespaceSelector") != "global()":
            accounts = entity["serviceAccounts"] = {}
            if self._chance(0.6):
                accounts["names"] = self._some(_ACCOUNTS, 1, 2)
            else:
                accounts["selector"] = self.selector(1, {"team": _TEAMS})
        if with_ports:
            if self._chance(0.45 if far else 0.1):
                entity["ports"] = self._port_list()
            if self._chance(0.12):
                entity["notPorts"] = self._port_list()
        return entity

    def _port_list(self):
        if self._chance(0.05):
            return list(range(70, 70 + self.dice.randint(14, 20)))
        found = []
        for _ in range(self.dice.randint(1, 4)):
            low = self.dice.choice(PORTS)
            found.append(self._pick(low, low, f"{low}:{min(low + 100, 65535)}", self.dice.choice(PORT_NAMES)))
        return list(dict.fromkeys(found))

    # ---- policies

    def policies(self):
        for number in range(self.dice.randint(0, 7)):
            yield self._policy(number)

    def _policy(self, number):
        namespace = self._pick(None, None, *NAMESPACES)
        spec = {"types": self._pick(["Ingress"], ["Egress"], ["Ingress", "Egress"])}
        if self._chance(0.8):
            spec["order"] = self._pick(1, 10, 10, 10.5, 100)
        spec["selector"] = self._pick("all()", self.selector(), self.selector(1), "has(host)", "")
        kind = "normal"
        if namespace is None:
            kind = self._pick("normal", "normal", "normal", "forward", "forward", "untracked", "preDNAT")
            if kind in ("untracked", "preDNAT") and self._chance(0.7):
                spec["selector"] = "has(host)"
            if kind == "normal" and self._chance(0.25):
                spec["namespaceSelector"] = self._namespace_selector("all()")
        if self._chance(0.1) and kind == "normal":
            spec["serviceAccountSelector"] = self.selector(1, {"team": _TEAMS})
        if kind != "normal":
            spec["applyOnForward"] = True
        if kind == "untracked":
            spec["doNotTrack"] = True
        if kind == "preDNAT":
            spec["preDNAT"] = True
            spec["types"] = ["Ingress"]
        actions = ("Allow", "Allow", "Allow", "Deny", "Pass", "Log")
        for direction in ("ingress", "egress"):
            if direction.capitalize() in spec["types"]:
                spec[direction] = self.rules(direction, namespace, actions)
        name = self.dice.choice("abcxyz") + str(number)
        kind = "GlobalNetworkPolicy" if namespace is None else "NetworkPolicy"
        return _resource(kind, name, spec, namespace)

    def resources(self):
        """All that changes from round to round; later ones may refer to earlier ones."""
        for part in (self.profiles, self.sets, self.workloads, self.policies, self.host_endpoints):
            yield from part()

    # ---- probes

    def probes(self, count):
        """Distinct (source, target, packet): no packet looks like another's answer."""
        places = {place.name: place for place in (*PODS, *OUTSIDE)}
        host = tuple(address.split("/")[0] for found in HOST_ADDRESSES.values() for address in found)
        places[HOST] = Place(
            HOST, HOST, tuple(a for a in host if ":" not in a), tuple(a for a in host if ":" in a)
        )
        weights = [3] * len(PODS) + [8] * len(OUTSIDE) + [8]
        seen = set()
        while len(seen) < count:
            source, target = self.dice.choices(list(places), weights, k=2)
            if source == target:
                continue
            version = self._pick(4, 6)
            src = self.dice.choice(self._from(places, source, target, version))
            dst = self.dice.choice(self._from(places, target, source, version))
            protocol = self.dice.choice(PROTOCOLS[version])
            packet = Packet(src, dst, protocol, *self._numbers(protocol))
            ends = frozenset(((packet.src, packet.sport), (packet.dst, packet.dport)))
            key = (protocol, ends) if packet.dport else (protocol, ends, packet.icmp_type, len(seen))
            if key not in seen:
                seen.add(key)
                yield source, target, packet

    @staticmethod
    def _from(places, name, other, version):
        """A host answers from the interface that faces the other side."""
        found = places[name].addresses(version)
        if name == HOST and places[other].interface in HOST_ADDRESSES:
            nets = [address.split("/")[0] for address in HOST_ADDRESSES[places[other].interface]]
            return [address for address in found if address in nets]
        return found

    def _numbers(self, protocol):
        if protocol == "icmp":
            return 0, 0, self._pick(8, 8, 13, 17), self._pick(0, 0, 1)
        if protocol == "icmpv6":
            return 0, 0, 128, self._pick(0, 0, 1)
        source = self.dice.choice(PORTS) if self._chance(0.3) else self.dice.randint(20000, 60000)
        return source, self.dice.choice(PORTS), 0, 0
