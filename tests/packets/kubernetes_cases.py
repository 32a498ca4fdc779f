"""The 48 cases of Kubernetes' own suite of network policies (test/e2e/network/netpol of v1.28), told anew as data.

Steps and actions are those of `netpol_cases`; so is the cluster. Expected results are computed.
"""

_NS_NAME = "kubernetes.io/metadata.name"
_A, _B, _C = ({"matchLabels": {"pod": pod}} for pod in "abc")
_X, _Y, _Z = ({"matchLabels": {"ns": ns}} for ns in "xyz")


def _is(key, operator, *values):
    return {"matchExpressions": [{"key": key, "operator": operator, "values": list(values)}]}


def _peer(pods=None, namespaces=None):
    return {
        **({"podSelector": pods} if pods is not None else {}),
        **({"namespaceSelector": namespaces} if namespaces is not None else {}),
    }


def _rule(*peers, ports=(), side="from"):
    return {**({side: list(peers)} if peers else {}), **({"ports": list(ports)} if ports else {})}


def _port(number, protocol="TCP"):
    return {"port": number, "protocol": protocol}


def _put(target, ingress=None, egress=None, name="p", namespace="x"):
    spec = {"podSelector": target, "policyTypes": []}
    for direction, rules in (("ingress", ingress), ("egress", egress)):
        if rules is not None:
            spec["policyTypes"].append(direction.capitalize())
            spec[direction] = rules
    return {"action": "put policy", "namespace": namespace, "name": name, "spec": spec}


def _drop(name="p", namespace="x"):
    return {"action": "delete policy", "namespace": namespace, "name": name}


def _label_pod(pod, namespace="x", /, **labels):
    return {"action": "label pod", "namespace": namespace, "pod": pod, "labels": labels}


def _label_namespace(namespace, /, **labels):
    return {"action": "label namespace", "namespace": namespace, "labels": labels}


def _block(cidr, *excepted):
    return {"ipBlock": {"cidr": cidr, **({"except": list(excepted)} if excepted else {})}}


def _to(*peers, ports=()):
    return _rule(*peers, ports=ports, side="to")


#: Pod x/b is 10.65.0.11, y/b 10.65.0.14; their nets of /24 hold all pods.
_ALL_PODS, _Y_B = "10.65.0.0/24", "10.65.0.14/32"


def _by_protocol(protocol):
    """Three that the suite asks of each protocol."""
    yield "deny all ingress", [[_put({}, [])]]
    yield (
        "by ports",
        [
            [_put({}, [_rule(_peer(_A, _X), ports=[_port(80, protocol)])])],
            [_put({}, [_rule(_peer(_A, _X), ports=[_port(81, protocol)])])],
        ],
    )
    yield (
        "from a pod of another namespace",
        [[_put(_A, [_rule(_peer(_A, _Y), ports=[_port(80, protocol)])])]],
    )


def _tcp():
    yield "deny all", [[_put({}, [], [])]]
    yield "from pods of the own namespace", [[_put({}, [_rule(_peer(_A))])]]
    yield (
        "for a target among denied ones",
        [[_put({}, [], name="deny")], [_put(_A, [_rule(_peer(_C, {}))], name="allow")]],
    )
    yield "from all namespaces", [[_put({}, [_rule(_peer(namespaces={}))])]]
    yield "from another namespace", [[_put({}, [_rule(_peer(namespaces=_Y))])]]
    yield "pods by expression", [[_put(_A, [_rule(_peer(_is("pod", "In", "b")))])]]
    yield "namespaces by expression", [[_put(_A, [_rule(_peer(namespaces=_is("ns", "In", "y")))])]]
    yield (
        "pods or namespaces",
        [[_put(_A, [_rule(_peer(_B), _peer(namespaces=_is("ns", "NotIn", "x")))])]],
    )
    yield "pods and namespaces", [[_put(_A, [_rule(_peer(_B, _is("ns", "NotIn", "x")))])]]
    yield (
        "several pods and namespaces",
        [[_put(_A, [_rule(_peer(_is("pod", "In", "b", "c"), _is("ns", "In", "y", "z")))])]],
    )
    yield (
        "any of several pods",
        [[_put(_A, [_rule(_peer(_is("pod", "In", "b"), {}), _peer(_is("pod", "In", "c"), {}))])]],
    )
    yield (
        "stacked policies",
        [
            [_put({}, [_rule(_peer(_B, _Y), ports=[_port(80)])], name="one")],
            [_put(_A, [_rule(_peer(_B, _Y), ports=[_port(81)])], name="two")],
            [_put({}, [_rule(_peer(_B, _Y), ports=[_port(80), _port(81)])], name="three")],
        ],
    )
    yield "allow all", [[_put({}, [{}])]]
    yield "in by a port's name", [[_put(_A, [_rule(ports=[_port("serve-81-tcp")])])]]
    yield (
        "in from a namespace by a port's name",
        [
            [_put(_A, [_rule(_peer(namespaces=_Y), ports=[_port("serve-80-tcp")])])],
            [_put(_A, [_rule(_peer(namespaces=_Y), ports=[_port("serve-81-tcp")])])],
        ],
    )
    yield "out by a port's name", [[_put(_A, egress=[_to(ports=[_port("serve-80-tcp")])])]]
    yield (
        "an update",
        [[_put({}, [_rule(ports=[_port(81)])])], [_put({}, [_rule(ports=[_port(80)])])]],
    )
    yield (
        "a namespace's labels change",
        [
            [_put(_A, [_rule(_peer(namespaces={"matchLabels": {"ns2": "updated"}}))])],
            [_label_namespace("y", ns="y", ns2="updated")],
        ],
    )
    yield (
        "a pod's labels change, so it may",
        [
            [_put(_A, [_rule(_peer({"matchLabels": {"pod": "b", "pod2": "updated"}}))])],
            [_label_pod("b", pod="b", pod2="updated")],
        ],
    )
    yield "not from other namespaces", [[_put({}, [_rule(_peer({}))])]]
    yield (
        "a pod's labels change, so it is closed",
        [
            [_put({"matchLabels": {"target": "isolated"}}, [])],
            [_label_pod("a", pod="a", target="isolated")],
        ],
    )
    yield "a pod says nothing", [[_put(_A, egress=[])]]
    yield "a namespace says nothing", [[_put({}, egress=[])]]
    yield (
        "in and out together",
        [
            [_put(_A, [_rule(_peer(namespaces=_Y), ports=[_port(80)])], [_to(ports=[_port(80)])])],
            [_put(_A, [_rule(_peer(namespaces=_Y), ports=[_port(80)])], [_to(ports=[_port(81)])])],
        ],
    )
    yield (
        "the client may not, the server would",
        [
            [_put(_A, egress=[_to(_peer(_A, _Y), ports=[_port(80)])], name="client")],
            [
                _put(_A, [_rule(_peer(_A, _X))], name="server", namespace="y"),
                _put(_B, [_rule(_peer(_A, _X))], name="server-b", namespace="y"),
            ],
        ],
    )
    yield "out to a pod of another namespace", [[_put(_A, egress=[_to(_peer(_A, _Y))])]]
    yield "any port of a protocol", [[_put(_A, [_rule(ports=[{"protocol": "UDP"}])])]]
    some_in, all_in = [_rule(_peer(_B, _Y))], [{}]
    yield (
        "an ingress policy that allows all wins",
        [[_put({}, some_in, name="some")], [_put({}, all_in, name="all")]],
    )
    yield (
        "an egress policy that allows all wins",
        [[_put({}, egress=[_to(_peer(_B, _Y))], name="some")], [_put({}, egress=[{}], name="all")]],
    )
    yield (
        "nothing holds after deletion",
        [[_put({}, [], name="in"), _put({}, egress=[], name="out")], [_drop("in"), _drop("out")]],
    )
    yield "out to a block", [[_put(_A, egress=[_to(_block(_Y_B))])]]
    yield "out to a block but for some", [[_put(_A, egress=[_to(_block(_ALL_PODS, "10.65.0.12/30"))])]]
    yield (
        "an address in a block and in another's exception",
        [
            [_put(_A, egress=[_to(_block(_ALL_PODS, _Y_B))], name="but")],
            [_put(_A, egress=[_to(_block(_Y_B))], name="yet")],
        ],
    )
    yield (
        "in and out are independent",
        [
            [_put(_A, [_rule(_peer(_B))], [_to(_peer(_B))])],
            [_drop(), _put(_A, [], [_to(_peer(_B))], name="q")],
        ],
    )
    yield (
        "SCTP is not TCP",
        [[_put(_A, [_rule(ports=[_port(81, "SCTP")])], name="sctp")], [_put(_A, [_rule(ports=[_port(80)])])]],
    )
    yield "SCTP alone isolates", [[_put(_A, [_rule(ports=[_port(80, "SCTP")])])]]
    yield "UDP alone lets no TCP in", [[_put(_A, [_rule(ports=[_port(81, "UDP")])])]]
    yield (
        "namespaces by their own name",
        [[_put({}, [_rule(_peer(namespaces={"matchLabels": {_NS_NAME: "y"}}))])]],
    )
    yield (
        "namespaces by expression on their own name",
        [[_put(_A, [_rule(_peer(namespaces=_is(_NS_NAME, "NotIn", "x")))])]],
    )


def _cases():
    for protocol in ("TCP", "UDP", "SCTP"):
        for name, steps in _by_protocol(protocol):
            yield f"kubernetes: {protocol}: {name}", steps
    for name, steps in _tcp():
        yield f"kubernetes: {name}", steps


CASES = dict(_cases())
