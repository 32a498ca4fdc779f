"""Kubernetes NetworkPolicy, feature by feature: what is applied, step by step. No expected results: those are computed.

Three namespaces x, y, z with label ``ns``, three pods a, b, c with label ``pod`` in each; every pod has ports 80 and
81 of each protocol, named ``serve-80-tcp`` and so on. A case is a list of steps, a step a list of actions; after
each step every pod tries to reach every other.
"""

import itertools

import kubernetes_cases

NAMESPACES = ("x", "y", "z")
PODS = ("a", "b", "c")
PORTS = (80, 81)
PROTOCOLS = ("TCP", "UDP", "SCTP")
TARGET = {"matchLabels": {"pod": "a"}}
DIRECTIONS = {"ingress": "from", "egress": "to"}


def address(namespace, pod, version):
    number = 10 + 3 * NAMESPACES.index(namespace) + PODS.index(pod)
    return f"10.65.0.{number}" if version == 4 else f"fd65::{number:x}"


def _policy(direction, rules, target=TARGET, name="base", namespace="x", types=None):
    spec = {"podSelector": target, "policyTypes": types or [direction.capitalize()]}
    if rules is not None:
        spec[direction] = rules
    return {"action": "put policy", "namespace": namespace, "name": name, "spec": spec}


def _expression(key, operator, *values):
    found = {"key": key, "operator": operator}
    return {"matchExpressions": [{**found, "values": list(values)} if values else found]}


_POD_SELECTORS = {
    "no pod selector": None,
    "all pods": {},
    "pod label": {"matchLabels": {"pod": "b"}},
    "pod in": _expression("pod", "In", "b", "c"),
    "pod not in": _expression("pod", "NotIn", "b"),
    "pod label exists": _expression("pod", "Exists"),
    "pod label missing": _expression("pod", "DoesNotExist"),
}
_NAMESPACE_SELECTORS = {
    "own namespace": None,
    "all namespaces": {},
    "namespace label": {"matchLabels": {"ns": "y"}},
    "namespace in": _expression("ns", "In", "x", "y"),
    "namespace not in": _expression("ns", "NotIn", "y"),
    "namespace label exists": _expression("ns", "Exists"),
    "namespace label missing": _expression("ns", "DoesNotExist"),
}
_TARGETS = {
    "all pods": {},
    "label": TARGET,
    "in": _expression("pod", "In", "a", "b"),
    "not in": _expression("pod", "NotIn", "a", "b"),
    "exists": _expression("pod", "Exists"),
    "missing": _expression("pod", "DoesNotExist"),
    "nobody": {"matchLabels": {"pod": "nobody"}},
    "two conditions": {"matchLabels": {"pod": "a"}, **_expression("pod", "NotIn", "c")},
}
_BLOCKS = {
    "one pod": [{"cidr": "10.65.0.13/32"}, {"cidr": "fd65::d/128"}],
    "one pod, v4 only": [{"cidr": "10.65.0.13/32"}],
    "one pod, v6 only": [{"cidr": "fd65::d/128"}],
    "everything": [{"cidr": "0.0.0.0/0"}, {"cidr": "::/0"}],
    "everything but": [
        {"cidr": "0.0.0.0/0", "except": ["10.65.0.12/30"]},
        {"cidr": "::/0", "except": ["fd65::c/126"]},
    ],
    "range but two": [
        {"cidr": "10.65.0.8/29", "except": ["10.65.0.14/32", "10.65.0.11/32"]},
        {"cidr": "fd65::8/125", "except": ["fd65::e/128", "fd65::b/128"]},
    ],
    "overlapping": [{"cidr": "10.65.0.0/24", "except": ["10.65.0.13/32"]}, {"cidr": "10.65.0.13/32"}],
    "elsewhere": [{"cidr": "192.0.2.0/24"}, {"cidr": "2001:db8::/32"}],
}
_PORTS = {
    "80 of no protocol": [{"port": 80}],
    **{f"80 {protocol}": [{"port": 80, "protocol": protocol}] for protocol in PROTOCOLS},
    **{f"any {protocol}": [{"protocol": protocol}] for protocol in PROTOCOLS},
    **{f"named {p}": [{"port": f"serve-81-{p.lower()}", "protocol": p}] for p in PROTOCOLS},
    "named, other protocol": [{"port": "serve-80-tcp", "protocol": "UDP"}],
    "named, nobody's": [{"port": "not-there", "protocol": "TCP"}],
    "two ports": [{"port": 80, "protocol": "TCP"}, {"port": 81, "protocol": "UDP"}],
    "number and name": [{"port": 80, "protocol": "UDP"}, {"port": "serve-81-sctp", "protocol": "SCTP"}],
    "range": [{"port": 79, "endPort": 80, "protocol": "TCP"}],
    "range over all": [{"port": 1, "endPort": 65535, "protocol": "SCTP"}],
    "range elsewhere": [{"port": 82, "endPort": 90, "protocol": "UDP"}],
    "other port": [{"port": 7777, "protocol": "TCP"}],
}


def _peer(pods, namespaces):
    peer = {}
    if pods is not None:
        peer["podSelector"] = pods
    if namespaces is not None:
        peer["namespaceSelector"] = namespaces
    return peer


def _cases():
    for direction, side in DIRECTIONS.items():
        yield f"{direction}: all allowed", [[_policy(direction, [{}])]]
        yield (
            f"{direction}: all allowed, empty peers and ports",
            [[_policy(direction, [{side: [], "ports": []}])]],
        )
        yield f"{direction}: none allowed", [[_policy(direction, [])]]
        yield f"{direction}: none allowed, no rules", [[_policy(direction, None)]]
        for name, target in _TARGETS.items():
            yield f"{direction}: target {name}, none", [[_policy(direction, [], target)]]
            some = [{side: [{"podSelector": {"matchLabels": {"pod": "c"}}}]}]
            yield f"{direction}: target {name}, some", [[_policy(direction, some, target)]]
        for (p, pods), (n, spaces) in itertools.product(_POD_SELECTORS.items(), _NAMESPACE_SELECTORS.items()):
            if peer := _peer(pods, spaces):
                yield f"{direction}: {p}, {n}", [[_policy(direction, [{side: [peer]}])]]
        for name, blocks in _BLOCKS.items():
            peers = [{"ipBlock": block} for block in blocks]
            yield f"{direction}: block {name}", [[_policy(direction, [{side: peers}])]]
        for name, ports in _PORTS.items():
            yield f"{direction}: port {name}", [[_policy(direction, [{"ports": ports}])]]
        for (p, port), (name, peer) in itertools.product(
            [(p, _PORTS[p]) for p in ("80 TCP", "named UDP", "any SCTP", "two ports")],
            [
                ("pods", _peer({"matchLabels": {"pod": "b"}}, None)),
                ("namespace", _peer(None, {"matchLabels": {"ns": "z"}})),
                ("both", _peer({"matchLabels": {"pod": "b"}}, {"matchLabels": {"ns": "z"}})),
                ("block", {"ipBlock": {"cidr": "10.65.0.0/27", "except": ["10.65.0.17/32"]}}),
            ],
        ):
            yield f"{direction}: {name} at {p}", [[_policy(direction, [{side: [peer], "ports": port}])]]
        two = [_peer({"matchLabels": {"pod": "b"}}, None), _peer(None, {"matchLabels": {"ns": "z"}})]
        yield f"{direction}: two peers", [[_policy(direction, [{side: two}])]]
        yield f"{direction}: two rules", [[_policy(direction, [{side: [each]} for each in two])]]
        narrow = [{side: two[:1], "ports": _PORTS["80 TCP"]}, {side: two[1:], "ports": _PORTS["any UDP"]}]
        yield f"{direction}: two rules, each its ports", [[_policy(direction, narrow)]]
        block_and_pods = [{"ipBlock": {"cidr": "10.65.0.16/28"}}, two[0]]
        yield f"{direction}: block or pods", [[_policy(direction, [{side: block_and_pods}])]]
        yield from _together(direction, side)
        yield from _changes(direction, side)
    yield from _both_directions()


def _together(direction, side):
    """Several policies: what any of them allows is allowed."""
    some = [{side: [_peer({"matchLabels": {"pod": "b"}}, None)]}]
    other = [{side: [_peer(None, {"matchLabels": {"ns": "y"}})], "ports": _PORTS["80 TCP"]}]
    deny = _policy(direction, [], {}, "deny")
    yield f"{direction}: deny and allow all", [[deny, _policy(direction, [{}], {}, "allow")]]
    yield f"{direction}: deny and allow some", [[deny, _policy(direction, some, name="allow")]]
    yield (
        f"{direction}: two that allow",
        [[_policy(direction, some, name="one"), _policy(direction, other, name="two")]],
    )
    yield (
        f"{direction}: of two namespaces",
        [[_policy(direction, some, {}, "one"), _policy(direction, other, {}, "one", "y")]],
    )
    yield f"{direction}: everywhere", [[_policy(direction, some, {}, "one", ns) for ns in NAMESPACES]]


def _changes(direction, side):
    """What comes, changes and goes."""
    base = _policy(direction, [{side: [_peer({"matchLabels": {"pod": "b"}}, {"matchLabels": {"ns": "y"}})]}])
    wider = _policy(direction, [{side: [_peer(None, {"matchLabels": {"ns": "y"}})]}])
    gone = {"action": "delete policy", "namespace": "x", "name": "base"}
    yield f"{direction}: made, changed, deleted", [[base], [wider], [gone]]

    def labels(namespace, pod, value):
        return {"action": "label pod", "namespace": namespace, "pod": pod, "labels": {"pod": value}}

    def spaces(namespace, value):
        return {"action": "label namespace", "namespace": namespace, "labels": {"ns": value}}

    yield (
        f"{direction}: pods' labels change",
        [[base], [labels("y", "b", "other")], [labels("y", "c", "b"), labels("y", "b", "b")]],
    )
    yield f"{direction}: namespaces' labels change", [[base], [spaces("z", "y")], [spaces("y", "other")]]
    yield (
        f"{direction}: the target's labels change",
        [[base], [labels("x", "a", "other"), labels("x", "c", "a")]],
    )
    yield (
        f"{direction}: a pod goes and comes back",
        [
            [base],
            [{"action": "delete pod", "namespace": "y", "pod": "b"}],
            [{"action": "make pod", "namespace": "y", "pod": "b"}],
        ],
    )


def _both_directions():
    from_b = [{"from": [_peer({"matchLabels": {"pod": "b"}}, {})]}]
    to_c = [{"to": [_peer({"matchLabels": {"pod": "c"}}, {})]}]

    def both(name, ingress, egress, types, target=TARGET):
        spec = {"podSelector": target, "policyTypes": types}
        spec |= {"ingress": ingress} if ingress is not None else {}
        spec |= {"egress": egress} if egress is not None else {}
        if types is None:
            del spec["policyTypes"]
        return name, [[{"action": "put policy", "namespace": "x", "name": "base", "spec": spec}]]

    yield both("both: each its own", from_b, to_c, ["Ingress", "Egress"])
    yield both("both: no rules", None, None, ["Ingress", "Egress"])
    yield both("both: all", [{}], [{}], ["Ingress", "Egress"], {})
    yield both("types: default with ingress", from_b, None, None)
    yield both("types: default with egress", None, to_c, None)
    yield both("types: default with both", from_b, to_c, None)
    yield both("types: default with neither", None, None, None)
    yield both("types: egress alone, ingress rules ignored", from_b, to_c, ["Egress"])
    yield both("types: ingress alone, egress rules ignored", from_b, to_c, ["Ingress"])
    # The well-known recipes.
    recipes = {
        "only the own namespace": ({}, [{"from": [{"podSelector": {}}]}]),
        "only other namespaces' pods b": ({}, [{"from": [_peer({"matchLabels": {"pod": "b"}}, {})]}]),
        "from outside": ({}, [{"from": [{"ipBlock": {"cidr": "0.0.0.0/0"}}]}]),
        "one port of the target": (TARGET, [{"ports": [{"port": 80, "protocol": "TCP"}]}]),
        "SCTP is not TCP": (TARGET, [{"ports": [{"port": 80, "protocol": "SCTP"}]}]),
        "a or b": ({}, [{"from": [{"podSelector": _expression("pod", "In", "a", "b")}]}]),
    }
    for name, (target, rules) in recipes.items():
        yield f"recipe: {name}", [[_policy("ingress", rules, target)]]


CASES = {**dict(_cases()), **kubernetes_cases.CASES}
