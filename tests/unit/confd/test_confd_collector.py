from pycalico.api.meta import Key, ObjectMeta
from pycalico.api.v3.bgppeer import BGPPassword, BGPPeer, BGPPeerSpec, SecretKeySelector
from pycalico.api.v3.ipam import BlockAffinity, BlockAffinitySpec
from pycalico.api.v3.node import Node, NodeBGPSpec, NodeSpec
from pycalico.confd.collector import Collector
from pycalico.syncer.update import Update


def update(resource):
    return Update(resource.key, resource)


def test_heartbeats_are_no_news():
    collector = Collector("n1")
    node = Node(
        metadata=ObjectMeta(name="n2", resource_version="1"),
        spec=NodeSpec(bgp=NodeBGPSpec(ipv4_address="10.0.0.2/24")),
    )
    assert collector.apply([update(node)])
    node.metadata.resource_version = "2"
    node.metadata.annotations = {"beat": "now"}
    assert not collector.apply([update(node)])
    node.metadata.labels = {"rack": "a"}
    assert collector.apply([update(node)])
    assert collector.apply([Update(Key("Node", "", "n2"), None)])
    assert not collector.apply([Update(Key("Node", "", "n2"), None)])


def test_only_own_blocks_count_also_when_they_move():
    collector = Collector("n1")
    block = BlockAffinity(
        metadata=ObjectMeta(name="b"),
        spec=BlockAffinitySpec(node="n2", cidr="10.0.0.0/26", state="confirmed"),
    )
    assert not collector.apply([update(block)])
    block.spec.node = "n1"
    assert collector.apply([update(block)])
    block = BlockAffinity(metadata=block.metadata, spec=BlockAffinitySpec(node="n2", cidr="10.0.0.0/26"))
    assert collector.apply([update(block)])
    assert collector.inputs.affinities == {}


def test_secrets_that_are_referred_to():
    collector = Collector("n1")
    reference = BGPPassword(secret_key_ref=SecretKeySelector(name="keys", key="k"))
    collector.apply([update(BGPPeer(metadata=ObjectMeta(name="p"), spec=BGPPeerSpec(password=reference)))])
    assert collector.secret_names() == {"keys"}
