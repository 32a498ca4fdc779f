import pytest

from pycalico.api.meta import ObjectMeta
from pycalico.api.v3.bgpconfiguration import BGPConfigurationSpec
from pycalico.api.v3.bgppeer import BGPPassword, BGPPeerSpec, SecretKeySelector
from pycalico.api.v3.node import Node, NodeBGPSpec, NodeSpec
from pycalico.bgp.hosts import Hosts
from pycalico.bgp.inputs import Inputs
from pycalico.bgp.peers import peerings_of, split_port


def node(name, v4="", v6="", labels=None, **bgp):
    return Node(
        metadata=ObjectMeta(name=name, labels=labels or {}),
        spec=NodeSpec(bgp=NodeBGPSpec(ipv4_address=v4, ipv6_address=v6, **bgp)),
    )


def three(**peers):
    nodes = [
        node("n1", "10.0.0.1/24", "fd00::1/64", {"rack": "a"}),
        node("n2", "10.0.0.2/24", labels={"rack": "a", "rr": "yes"}, route_reflector_cluster_id="224.0.0.1"),
        node("n3", "10.0.0.3/24", labels={"rack": "b"}, as_number=65000),
    ]
    specs = {name.replace("_", "-"): spec for name, spec in peers.items()}
    return Inputs(nodes={item.metadata.name: item for item in nodes}, peers=specs)


def peerings(inputs, name="n1"):
    problems = []
    found = peerings_of(name, inputs, Hosts(inputs, problems), problems)
    return found.global_, found.node, problems


def test_a_peer_without_node_is_global_on_every_node():
    inputs = three(tor=BGPPeerSpec(peer_ip="10.9.9.9", as_number=64600))
    for name in ("n1", "n3"):
        [peer], own, problems = peerings(inputs, name)
        assert (peer.address, peer.as_number, peer.port, peer.calico_node) == ("10.9.9.9", 64600, None, False)
        assert not own
        assert not problems


def test_node_and_node_selector():
    inputs = three(
        one=BGPPeerSpec(node="n1", peer_ip="10.9.9.1", as_number=1),
        rack=BGPPeerSpec(node_selector="rack == 'a'", peer_ip="10.9.9.2", as_number=1),
    )
    assert [p.address for p in peerings(inputs, "n1")[1]] == ["10.9.9.1", "10.9.9.2"]
    assert [p.address for p in peerings(inputs, "n2")[1]] == ["10.9.9.2"]
    assert [p.address for p in peerings(inputs, "n3")[1]] == []


def test_peer_selector_reaches_both_ways():
    inputs = three(rr=BGPPeerSpec(node_selector="!has(rr)", peer_selector="has(rr)"))
    [up] = peerings(inputs, "n1")[1]
    assert (up.address, up.cluster_id, up.as_number) == ("10.0.0.2", "224.0.0.1", 64512)
    down = peerings(inputs, "n2")[1]
    assert [(p.address, p.as_number) for p in down] == [
        ("10.0.0.1", 64512),
        ("10.0.0.3", 65000),
        ("fd00::1", 64512),
    ]


def test_a_global_peer_that_is_a_node_gets_its_reverse_half():
    inputs = three(rr=BGPPeerSpec(peer_ip="10.0.0.2", as_number=64512))
    [peer], own, _ = peerings(inputs, "n1")
    assert peer.calico_node
    assert not own
    _, own, _ = peerings(inputs, "n2")
    assert [p.address for p in own] == ["10.0.0.1", "10.0.0.3"]


def test_the_same_address_and_port_is_peered_once_whatever_the_order():
    inputs = three(
        b_global=BGPPeerSpec(peer_ip="10.9.9.9", as_number=1),
        a_node=BGPPeerSpec(node="n1", peer_ip="10.9.9.9", as_number=2),
    )
    for _ in range(10):
        inputs.peers = dict(reversed(inputs.peers.items()))
        global_, own, _ = peerings(inputs)
        assert [p.as_number for p in global_] == [1]
        assert own == []


def test_two_ports_are_two_peers_and_a_nodes_own_port_is_found():
    inputs = three(
        plain=BGPPeerSpec(peer_ip="10.0.0.3", as_number=65000),
        port=BGPPeerSpec(peer_ip="10.0.0.3:166", as_number=65000),
    )
    inputs.configurations["node.n3"] = BGPConfigurationSpec(listen_port=500)
    assert [p.key for p in peerings(inputs)[0]] == ["10.0.0.3-166", "10.0.0.3-500"]


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("10.0.0.1", ("10.0.0.1", None)),
        ("10.0.0.1:179", ("10.0.0.1", 179)),
        ("[fd00::1]:50", ("fd00::1", 50)),
        ("fd00::1", ("fd00::1", None)),
        ("fd00::1:50", ("fd00::1:50", None)),
    ],
)
def test_split_port(text, parts):
    assert split_port(text) == parts


@pytest.mark.parametrize(
    "spec",
    [
        BGPPeerSpec(peer_ip="nowhere", as_number=1),
        BGPPeerSpec(peer_ip="10.0.0.9", as_number="many"),
        BGPPeerSpec(peer_ip="10.0.0.9", as_number=1, reachable_by="fd00::1"),
        BGPPeerSpec(peer_selector="has(", as_number=1),
    ],
)
def test_a_bad_peer_is_left_out_and_the_others_stay(spec):
    inputs = three(good=BGPPeerSpec(peer_ip="10.9.9.9", as_number=1), bad=spec)
    global_, _, problems = peerings(inputs)
    assert [p.address for p in global_] == ["10.9.9.9"]
    assert len(problems) == 1
    assert "bad" in problems[0]


def test_passwords_come_from_secrets_and_never_reach_a_message():
    reference = BGPPassword(secret_key_ref=SecretKeySelector(name="keys", key="k"))
    inputs = three(tor=BGPPeerSpec(peer_ip="10.9.9.9", as_number=1, password=reference))
    [peer], _, problems = peerings(inputs)
    assert peer.password == ""
    assert "no secret" in problems[0]
    inputs.secrets = {"keys": {"other": "x"}}
    assert "no key" in peerings(inputs)[2][0]
    inputs.secrets = {"keys": {"k": "s3cret"}}
    assert peerings(inputs)[0][0].password == "s3cret"
    inputs.secrets = {"keys": {"k": 's3cret"; include "/etc/shadow"; #'}}
    [peer], _, problems = peerings(inputs)
    assert peer.password == ""
    assert "s3cret" not in problems[0]
