"""Which peers and which ways follow from what nodes publish, step by step; the kernel is not asked."""

import base64
from types import SimpleNamespace

import pytest

from pycalico.calc.messages import (
    HostMetadataRemove,
    HostMetadataUpdate,
    PoolType,
    RouteRemove,
    RouteType,
    RouteUpdate,
    WireguardEndpointRemove,
    WireguardEndpointUpdate,
)
from pycalico.dataplane.config import DataplaneConfig
from pycalico.dataplane.managers.plane import MTUs, WireguardWishes
from pycalico.dataplane.managers.wireguard import WireguardManager
from pycalico.dataplane.rules.context import RuleContext
from pycalico.dataplane.rules.marks import allocate
from pycalico.kernel import command, wireguard
from pycalico.kernel.interfaces import Interfaces
from pycalico.kernel.netlink import Rule
from pycalico.reconcile.reconciler import Reconciler

ONE, TWO = (base64.b64encode(bytes([number]) * 32).decode() for number in (1, 2))


class Nowhere:
    def read(self):
        return {}

    def same(self, want, have):
        return want == have


class World:
    def __init__(self, **settings):
        config = DataplaneConfig(hostname="a", wireguard=True, **settings)
        context = RuleContext(config, allocate(0xFFFF0000, True), 4, True, True, native=False)
        self.wishes = WireguardWishes(*(Reconciler(kind, Nowhere()) for kind in ("d", "p", "ro", "ru")))
        plane = SimpleNamespace(
            context=context, family=4, mtus=MTUs(1480, 1450, 1430, 1440, 1420, 1420), wireguard=self.wishes,
            interfaces=Interfaces(),
        )  # fmt: skip
        self.manager = WireguardManager(plane)

    def tell(self, *messages):
        for message in messages:
            self.manager.handlers[type(message)](message)
        self.manager.resolve()

    @property
    def peers(self):
        return {
            key: (peer.endpoint, set(peer.allowed)) for key, peer in self.wishes.peers.delta.wanted.items()
        }

    @property
    def routes(self):
        return self.wishes.routes.delta.wanted

    @property
    def device(self):
        return self.wishes.devices.delta.wanted["wireguard.cali"]


def block(cidr, node, kind=RouteType.REMOTE_WORKLOAD):
    return RouteUpdate(cidr, kind, PoolType.NO_ENCAP, node)


@pytest.fixture
def world():
    made = World()
    made.tell(
        HostMetadataUpdate("a", "10.0.0.1"),
        HostMetadataUpdate("b", "10.0.0.2"),
        HostMetadataUpdate("c", "10.0.0.3"),
        block("172.16.1.0/26", "a", RouteType.LOCAL_WORKLOAD),
        block("172.16.2.0/26", "b"),
        block("172.16.3.0/26", "c"),
    )
    return made


def test_only_nodes_with_a_key_are_peers_and_all_others_are_led_back(world):
    assert world.peers == {}
    assert set(world.routes.values()) == {"throw"}
    world.tell(WireguardEndpointUpdate("b", ONE))
    assert world.peers == {ONE: ("10.0.0.2:51820", {"172.16.2.0/26"})}
    assert world.routes == {
        "172.16.1.0/26": "throw",
        "172.16.2.0/26": "wireguard.cali",
        "172.16.3.0/26": "throw",
    }
    world.tell(WireguardEndpointRemove("b"))
    assert world.peers == {}
    assert set(world.routes.values()) == {"throw"}
    assert list(world.wishes.rules.delta.wanted) == [Rule(99, 1, 0x100000, 0x100000, negated=True)]


def test_two_nodes_with_one_key_are_both_left_plain_until_one_has_another(world, caplog):
    world.tell(WireguardEndpointUpdate("b", ONE))
    world.tell(WireguardEndpointUpdate("c", ONE))
    assert world.peers == {}
    assert set(world.routes.values()) == {"throw"}
    assert "nodes b and c publish the same WireGuard key" in caplog.text
    world.tell(WireguardEndpointUpdate("c", TWO))
    assert world.peers == {
        ONE: ("10.0.0.2:51820", {"172.16.2.0/26"}),
        TWO: ("10.0.0.3:51820", {"172.16.3.0/26"}),
    }
    assert world.routes["172.16.3.0/26"] == world.routes["172.16.2.0/26"] == "wireguard.cali"


def test_keys_that_change_places_end_with_the_right_nodes(world):
    world.tell(WireguardEndpointUpdate("b", ONE), WireguardEndpointUpdate("c", TWO))
    world.tell(WireguardEndpointUpdate("b", TWO), WireguardEndpointUpdate("c", ONE))
    assert world.peers == {
        TWO: ("10.0.0.2:51820", {"172.16.2.0/26"}),
        ONE: ("10.0.0.3:51820", {"172.16.3.0/26"}),
    }


def test_an_address_moves_between_nodes_and_goes(world):
    world.tell(WireguardEndpointUpdate("b", ONE), block("172.16.3.7/32", "b"))
    assert world.peers[ONE][1] == {"172.16.2.0/26", "172.16.3.7/32"}
    world.tell(block("172.16.3.7/32", "c"))
    assert world.peers[ONE][1] == {"172.16.2.0/26"}
    assert world.routes["172.16.3.7/32"] == "throw"
    world.tell(block("172.16.3.7/32", "a", RouteType.LOCAL_WORKLOAD))
    assert world.routes["172.16.3.7/32"] == "throw"
    world.tell(RouteRemove("172.16.3.7/32"), RouteRemove("172.16.2.0/26"))
    assert set(world.routes) == {"172.16.1.0/26", "172.16.3.0/26"}
    assert world.peers == {ONE: ("10.0.0.2:51820", set())}


def test_own_addresses_within_own_blocks_need_no_way_of_their_own(world):
    world.tell(block("172.16.1.5/32", "a", RouteType.LOCAL_WORKLOAD))
    assert "172.16.1.5/32" not in world.routes
    world.tell(RouteRemove("172.16.1.0/26"))
    assert world.routes["172.16.1.5/32"] == "throw"
    assert "172.16.1.0/26" not in world.routes
    world.tell(block("172.16.1.0/26", "a", RouteType.LOCAL_WORKLOAD))
    assert "172.16.1.5/32" not in world.routes


def test_what_is_no_key_costs_the_node_its_encryption_only(world, caplog):
    world.tell(WireguardEndpointUpdate("b", "--help"), WireguardEndpointUpdate("c", TWO))
    assert list(world.peers) == [TWO]
    assert "node b publishes what is no WireGuard key" in caplog.text


def test_a_node_without_address_cannot_be_a_peer(world):
    world.tell(WireguardEndpointUpdate("b", ONE), HostMetadataRemove("b"))
    assert world.peers == {}
    world.tell(HostMetadataUpdate("b", "10.0.0.9"))
    assert world.peers[ONE][0] == "10.0.0.9:51820"


def test_hosts_are_reached_through_it_where_that_is_asked_for():
    for wished in (False, True):
        world = World(wireguard_host_encryption=wished)
        world.tell(
            HostMetadataUpdate("a", "10.0.0.1"),
            HostMetadataUpdate("b", "10.0.0.2"),
            WireguardEndpointUpdate("b", ONE),
            RouteUpdate("10.0.0.1/32", RouteType.LOCAL_HOST, PoolType.NONE, "a"),
            RouteUpdate("10.0.0.2/32", RouteType.REMOTE_HOST, PoolType.NONE, "b"),
        )
        assert world.peers[ONE][1] == ({"10.0.0.2/32"} if wished else set())
        assert world.device.address == ("10.0.0.1" if wished else "")
        world.tell(WireguardEndpointUpdate("a", TWO, "172.16.1.9"))
        assert world.device.address == "172.16.1.9"


def test_a_dump_is_read_and_what_is_none_is_not_repeated():
    found = wireguard.parse(
        f"secret\t{ONE}\t51820\t0x100000\n"
        f"{TWO}\t(none)\t[fd00::1]:51821\t10.0.0.0/24,fd01:0:0::/64\t1700000000\t12\t34\toff\n"
    )
    assert (found.public_key, found.port, found.mark) == (ONE, 51820, 0x100000)
    peer = found.peers[TWO]
    assert peer.peer == wireguard.Peer("[fd00::1]:51821", frozenset({"10.0.0.0/24", "fd01::/64"}), 0)
    assert (peer.handshake, peer.received, peer.sent) == (1700000000, 12, 34)
    assert wireguard.parse("(none)\t(none)\t0\toff\n").public_key == ""
    with pytest.raises(command.CommandError) as caught:
        wireguard.parse("secret\n")
    assert "secret" not in str(caught.value)
