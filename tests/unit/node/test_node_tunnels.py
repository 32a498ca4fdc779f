import pytest

from pycalico.api.meta import ObjectMeta
from pycalico.api.v3.ippool import IPPool, IPPoolSpec
from pycalico.api.v3.node import Node, NodeBGPSpec, NodeSpec, NodeStatus
from pycalico.datastore.errors import NotFound
from pycalico.datastore.memory import MemoryClient
from pycalico.ipam.allocator import Allocator
from pycalico.ipam.errors import NotAllocated
from pycalico.node.tunnelkinds import KINDS, eligible_cidrs, is_inside
from pycalico.node.tunnels import TunnelAddresses

MODES = {
    "ipipTunnelAddress": ("10.10.0.0/16", {"ipip_mode": "Always"}),
    "vxlanTunnelAddress": ("10.10.0.0/16", {"vxlan_mode": "CrossSubnet"}),
    "vxlanV6TunnelAddress": ("fd00:10::/48", {"vxlan_mode": "Always"}),
    "wireguardTunnelAddress": ("10.10.0.0/16", {}),
    "wireguardV6TunnelAddress": ("fd00:10::/48", {}),
}


@pytest.fixture(params=KINDS, ids=[kind.type for kind in KINDS])
def world(request):
    return World(request.param)


class World:
    def __init__(self, kind):
        self.kind = kind
        self.client = MemoryClient()
        self.ipam = Allocator(self.client)
        self.cidr, self.modes = MODES[kind.type]
        keys = NodeStatus(wireguard_public_key="k4", wireguard_public_key_v6="k6")
        status = keys if kind.part == "wireguard" else NodeStatus()
        self.client.create(Node(metadata=ObjectMeta(name="n1"), status=status))
        self.pool("p1", self.cidr)
        self.addresses = TunnelAddresses(self.client, "n1", {})

    def pool(self, name, cidr, **changes):
        self.client.create(
            IPPool(
                metadata=ObjectMeta(name=name),
                spec=IPPoolSpec(cidr=cidr, node_selector="all()", **{**self.modes, **changes}),
            )
        )

    def address(self):
        return self.kind.address_of(self.client.get(Node, "n1"))

    def set_address(self, address):
        node = self.client.get(Node, "n1")
        self.kind.put(node, address)
        self.client.update(node)

    def reconcile(self):
        self.addresses.reconcile()
        return self.address()

    def holder(self, address):
        return self.ipam.assignment_attributes(address)

    def pod(self, address, handle="pod", attributes=None):
        self.ipam.assign_ip(address, handle, attributes or {}, "n1")


def test_one_is_assigned_and_kept(world):
    address = world.reconcile()
    assert is_inside(address, [world.cidr])
    holder = world.holder(address)
    assert holder.attributes == {"node": "n1", "type": world.kind.type}
    assert holder.handle == f"{world.kind.handle_prefix}-n1"
    assert world.reconcile() == address


def test_a_lost_reference_leaks_nothing(world):
    world.reconcile()
    world.set_address("")
    world.reconcile()
    assert world.ipam.ips_by_handle(world.kind.handle("n1")) == [world.address()]


def test_it_moves_with_the_pool(world):
    old = world.reconcile()
    other = "10.20.0.0/16" if world.kind.family == 4 else "fd00:20::/48"
    world.pool("p2", other)
    pool = world.client.get(IPPool, "p1")
    pool.spec.disabled = True
    world.client.update(pool)
    assert is_inside(world.reconcile(), [other])
    with pytest.raises(NotAllocated):
        world.holder(old)


def test_somebody_elses_address_is_left_to_him(world):
    address = world.reconcile()
    world.ipam.release_by_handle(world.kind.handle("n1"))
    world.pod(address)
    assert world.reconcile() != address
    assert world.holder(address).handle == "pod"


def test_an_unassigned_one_is_replaced(world):
    first = "10.10.3.7" if world.kind.family == 4 else "fd00:10::77"
    world.set_address(first)
    assert world.holder(world.reconcile()).attributes["node"] == "n1"


def test_an_allocation_of_old_times_is_adopted(world):
    address = "10.10.3.7" if world.kind.family == 4 else "fd00:10::77"
    world.ipam.assign_ip(address, None, {}, "n1")
    world.set_address(address)
    assert world.reconcile() == address
    assert world.holder(address).attributes == {"node": "n1", "type": world.kind.type}


def test_no_pool_no_address(world):
    address = world.reconcile()
    world.client.delete(IPPool, "p1")
    # The block's pool is gone; its allocation goes by its handle.
    assert world.reconcile() == ""
    assert address
    with pytest.raises(NotFound):
        world.ipam.ips_by_handle(world.kind.handle("n1"))
    assert world.client.get(Node, "n1").spec.wireguard is None


@pytest.mark.parametrize(
    ("kind", "pool", "wanted"),
    [
        (2, {"ipip_mode": "CrossSubnet"}, True),
        (2, {"ipip_mode": "Never"}, False),
        (2, {"ipip_mode": "Always", "disabled": True}, False),
        (2, {"ipip_mode": "Always", "allowed_uses": ["Workload"]}, False),
        (2, {"ipip_mode": "Always", "allowed_uses": ["Tunnel"]}, True),
        (2, {"ipip_mode": "Always", "node_selector": "rack == 'b'"}, False),
        (2, {"ipip_mode": "Always", "node_selector": "rack == 'a'"}, True),
        (2, {"ipip_mode": "Always", "cidr": "fd00::/48"}, False),
        (3, {"vxlan_mode": "CrossSubnet"}, True),
        (3, {"ipip_mode": "Always"}, False),
        (4, {"vxlan_mode": "Always", "cidr": "fd00::/48"}, True),
        (0, {}, False),
    ],
)
def test_eligible_pools(kind, pool, wanted):
    node = Node(metadata=ObjectMeta(name="n1", labels={"rack": "a"}), spec=NodeSpec(bgp=NodeBGPSpec()))
    spec = IPPoolSpec(**{"cidr": "10.0.0.0/16", **pool})
    found = eligible_cidrs(KINDS[kind], node, [IPPool(metadata=ObjectMeta(name="p"), spec=spec)], {})
    assert bool(found) == wanted
