import pytest

from pycalico.api.meta import ObjectMeta
from pycalico.api.v3.node import Node, NodeBGPSpec, NodeSpec, NodeWireguardSpec
from pycalico.node import pathmtu, pathprobe
from pycalico.node.pathmtu import Way


def test_the_ends_are_other_nodes_addresses_and_those_of_their_tunnels():
    def node(name, **spec):
        return Node(metadata=ObjectMeta(name=name), spec=NodeSpec(**spec))

    bgp = NodeBGPSpec(
        ipv4_address="10.0.0.2/24", ipv6_address="fd00::2/64", ipv4_ipip_tunnel_addr="172.16.2.0"
    )
    nodes = [
        node("c", bgp=NodeBGPSpec(ipv4_address="not an address"), wireguard=NodeWireguardSpec("172.16.3.1")),
        node("b", bgp=bgp, ipv4_vxlan_tunnel_addr="172.17.2.0"),
        node("a", bgp=NodeBGPSpec(ipv4_address="10.0.0.1/24")),
    ]
    assert list(pathmtu.ends(nodes, "a")) == [
        ("b", 4, "10.0.0.2"), ("b", 6, "fd00::2"), ("b", 4, "172.16.2.0"), ("b", 4, "172.17.2.0"), ("c", 4, "172.16.3.1"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("way", "pods", "said"),
    [
        (Way("b", 4, "10.0.0.2", "eth0", 1500, 1500), 1500, ""),
        (Way("b", 4, "172.16.2.0", "vxlan.calico", 1450, 1450), 1450, ""),
        (Way("b", 4, "10.0.0.2", "eth0", 1500, 1400), 1450, "correct the interface's MTU"),
        (
            Way("b", 4, "172.16.2.0", "vxlan.calico", 1450, 1350),
            1450,
            "set vxlanMTU: 1350 in FelixConfiguration",
        ),
        (Way("b", 6, "fd16::", "vxlan-v6.calico", 1430, 1350), 1430, "set vxlanMTUV6: 1350"),
        (Way("b", 4, "172.16.2.0", "tunl0", 1480, 1300), 1480, "set ipipMTU: 1300"),
        (Way("b", 4, "172.16.2.0", "wireguard.cali", 1440, 1300), 1440, "set wireguardMTU: 1300"),
        (Way("b", 4, "172.16.2.0", "tunl0", 1400, 1400), 1480, "pods send up to 1480 bytes"),
        (Way("b", 4, "10.0.0.2", "eth0", 1500, None), 1500, "nothing comes back by eth0"),
        (Way("b", 4, "10.0.0.2", "", 0, None), 1500, "no route there"),
    ],
)
def test_what_is_wrong_and_what_to_do(way, pods, said):
    found = pathmtu.advice([way], pods)
    assert bool(found) == bool(said)
    assert all(said in line for line in found)
    assert said in pathmtu.as_text([way], pods)


def test_what_the_path_below_promises_counts():
    ways = [
        Way("b", 4, "10.0.0.2", "eth0", 1500, 1400),
        Way("b", 4, "172.16.2.0", "vxlan.calico", 1450, 1354),
    ]
    assert "set vxlanMTU: 1350 " in pathmtu.advice(ways, 1450)[1]


def test_without_a_route_nothing_is_sent():
    def probe(*_):
        raise AssertionError

    assert pathmtu.way(("b", 4, "10.0.0.2"), lambda _: None, probe) == Way("b", 4, "10.0.0.2", "", 0, None)


def test_the_internets_checksum():
    # The example of RFC 1071, section 3.
    assert pathprobe._checksum(bytes.fromhex("0001f203f4f5f6f7")) == 0x220D
    assert pathprobe._checksum(b"\xff") == 0x00FF
