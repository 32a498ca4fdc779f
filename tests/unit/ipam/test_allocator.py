import pytest

from pycalico.api.meta import ObjectMeta
from pycalico.api.v3.ipam import BlockAffinity, IPAMBlock, IPAMConfig, IPAMHandle
from pycalico.api.v3.ippool import IPPool, IPPoolSpec
from pycalico.api.v3.ipreservation import IPReservation, IPReservationSpec
from pycalico.api.v3.node import Node
from pycalico.datastore.errors import Conflict, Invalid, NotFound
from pycalico.datastore.memory import MemoryClient
from pycalico.ipam.allocator import Allocator, Release
from pycalico.ipam.errors import AlreadyAssigned, BlockLimit, BlockNotEmpty, IPAMError, NotAllocated


@pytest.fixture
def client():
    client = MemoryClient()
    for host in ("k8s-m", "k8s-w0", "k8s-w1"):
        client.create(Node(metadata=ObjectMeta(name=host, labels={"name": host})))
    return client


@pytest.fixture
def ipam(client):
    return Allocator(client)


def pool(client, cidr="172.16.0.0/16", size=24, name="p", **spec):
    spec = {"node_selector": "all()", **spec}
    return client.create(
        IPPool(metadata=ObjectMeta(name=name), spec=IPPoolSpec(cidr=cidr, block_size=size, **spec))
    )


def take(ipam, count=1, host="k8s-w0", handle="h", **options):
    outcome, _ = ipam.auto_assign(count, 0, handle, {"node": host}, host, **options)
    return outcome


def check_invariants(client):
    """Allocations, queues, attributes, handles and affinities agree."""
    held = {}
    for block in client.list(IPAMBlock).items:
        spec = block.spec
        free = [ordinal for ordinal, index in enumerate(spec.allocations) if index is None]
        assert sorted(spec.unallocated) == free
        used = {index for index in spec.allocations if index is not None}
        assert used == set(range(len(spec.attributes)))
        for index in spec.allocations:
            if index is not None:
                handle = spec.attributes[index].handle_id
                held[handle, spec.cidr] = held.get((handle, spec.cidr), 0) + 1
    for (handle, cidr), count in held.items():
        claimed = client.get(IPAMHandle, handle).spec.block[cidr]
        assert claimed >= count
    for affinity in client.list(BlockAffinity).items:
        if affinity.spec.state == "confirmed":
            block = next(b for b in client.list(IPAMBlock).items if b.spec.cidr == affinity.spec.cidr)
            assert block.spec.affinity == f"host:{affinity.spec.node}"


def test_seed_blocks_and_fifo(client, ipam):
    pool(client)
    assert take(ipam, host="k8s-m").addresses == ["172.16.116.0/24"]
    assert take(ipam, 2, host="k8s-w0").addresses == ["172.16.34.0/24", "172.16.34.1/24"]
    ipam.release_ips(["172.16.34.0"])
    assert take(ipam).addresses == ["172.16.34.2/24"]
    check_invariants(client)


def test_release_by_handle_frees_all_and_removes_the_handle(client, ipam):
    pool(client, "10.0.0.0/29", 31)
    assert len(take(ipam, 3).addresses) == 3
    assert len(ipam.ips_by_handle("h")) == 3
    assert ipam.release_by_handle("h") == 3
    with pytest.raises(NotFound):
        client.get(IPAMHandle, "h")
    with pytest.raises(NotFound):
        ipam.release_by_handle("h")
    check_invariants(client)


def test_exhausted_pool_says_so(client, ipam):
    pool(client, "10.5.0.0/30", 31)
    outcome = take(ipam, 6)
    assert len(outcome.addresses) == 4
    assert (
        outcome.shortfall()
        == "Assigned 4 out of 6 requested IPv4 addresses; No IPs available in pools: [10.5.0.0/30]"
    )


def test_borrowing_unless_strict(client, ipam):
    pool(client, "10.5.0.0/30", 30)
    take(ipam, host="k8s-m", handle="m")
    assert len(take(ipam, host="k8s-w0", handle="w").addresses) == 1
    config = ipam.config()
    config.spec.strict_affinity = True
    ipam.set_config(config)
    outcome = take(ipam, host="k8s-w0", handle="w2")
    assert outcome.addresses == []
    assert "strict affinity" in outcome.shortfall()
    check_invariants(client)


def test_block_limit(client, ipam):
    pool(client, "10.0.0.0/24", 30)
    with pytest.raises(BlockLimit, match="per host block limit"):
        take(ipam, 5, max_blocks=1)


def test_reservations_are_skipped_but_may_be_asked_for(client, ipam):
    pool(client, "10.0.0.0/30", 30)
    client.create(
        IPReservation(metadata=ObjectMeta(name="r"), spec=IPReservationSpec(reserved_cidrs=["10.0.0.0/31"]))
    )
    assert take(ipam, 4).addresses == ["10.0.0.2/30", "10.0.0.3/30"]
    ipam.assign_ip("10.0.0.0", "x", {}, "k8s-w0")
    with pytest.raises(AlreadyAssigned, match=r"resource already exists: 10\.0\.0\.0"):
        ipam.assign_ip("10.0.0.0", "y", {}, "k8s-w0")


def test_assign_ip_claims_the_block_and_refuses_strangers(client, ipam):
    pool(client)
    ipam.assign_ip("172.16.200.1", "x", {"pod": "p"}, "k8s-m")
    assert client.get(IPAMBlock, "172-16-200-0-24").spec.affinity == "host:k8s-m"
    assert ipam.assignment_attributes("172.16.200.1").attributes == {"pod": "p"}
    with pytest.raises(NotAllocated):
        ipam.assignment_attributes("172.16.200.2")
    with pytest.raises(IPAMError, match="not in a configured pool"):
        ipam.assign_ip("9.9.9.9", "x", {}, "k8s-m")


def test_release_conditions(client, ipam):
    pool(client)
    take(ipam)
    number = ipam.assignment_attributes("172.16.34.0").sequence_number
    for wrong in (Release("172.16.34.0", sequence_number=number + 1), Release("172.16.34.0", handle="other")):
        with pytest.raises(Conflict):
            ipam.release_ips([wrong])
    assert ipam.release_ips(
        [Release("172.16.34.0", handle="h", sequence_number=number), "172.16.34.9", "1.2.3.4"]
    ) == ["1.2.3.4", "172.16.34.9"]
    with pytest.raises(NotAllocated):
        ipam.assignment_attributes("172.16.34.0")


def test_duplicates_in_a_release_free_an_address_once(client, ipam):
    pool(client, "10.0.0.0/31", 31)
    take(ipam, 2)
    ipam.release_ips(["10.0.0.0", "10.0.0.0"])
    assert client.get(IPAMBlock, "10-0-0-0-31").spec.unallocated == [0]


def test_host_affinities_are_given_back_when_empty(client, ipam):
    pool(client, "10.0.0.0/24", 30)
    take(ipam, 5)
    addresses = ipam.ips_by_handle("h")
    ipam.release_ips(addresses[:4])
    with pytest.raises(BlockNotEmpty):
        ipam.release_host_affinities("k8s-w0", must_be_empty=True)
    assert len(client.list(IPAMBlock).items) == 1
    ipam.remove_host("k8s-w0")
    assert client.list(IPAMBlock).items[0].spec.affinity is None
    ipam.release_by_handle("h")
    assert client.list(IPAMBlock).items == []
    assert client.list(BlockAffinity).items == []


def test_pool_choice(client, ipam):
    pool(client, "10.1.0.0/24", 26, "a", node_selector="name == 'k8s-m'")
    pool(client, "10.2.0.0/24", 26, "b", allowed_uses=["Tunnel"])
    assert take(ipam, host="k8s-m").addresses[0].startswith("10.1.")
    with pytest.raises(IPAMError, match=r"no pools match the required use \(Workload\)"):
        take(ipam, host="k8s-w0")
    assert take(ipam, host="k8s-w0", use="Tunnel").addresses[0].startswith("10.2.")
    assert take(ipam, host="k8s-w0", pools4=["10.1.0.0/24"]).addresses[0].startswith("10.1.")
    with pytest.raises(
        IPAMError, match=r"the given pool \(10\.9\.0\.0/16\) does not exist, or is not enabled"
    ):
        take(ipam, pools4=["10.9.0.0/16"])


def test_deselected_pool_gets_its_empty_block_back(client, ipam):
    made = pool(client, "10.1.0.0/24", 26, "a")
    pool(client, "10.2.0.0/24", 26, "b")
    take(ipam, pools4=["10.1.0.0/24"])
    made.spec.node_selector = "name == 'k8s-m'"
    client.update(made)
    ipam.release_by_handle("h")
    assert client.list(IPAMBlock).items == []


def test_other_block_size_never_overlaps(client, ipam):
    pool(client, "10.0.0.0/24", 26, "old")
    take(ipam, 1, host="k8s-m", handle="old")
    client.delete(IPPool, "old")
    pool(client, "10.0.0.0/24", 25, "new")
    take(ipam, 1, host="k8s-w0", handle="new")
    import ipaddress

    nets = [ipaddress.ip_network(b.spec.cidr) for b in client.list(IPAMBlock).items]
    assert not nets[0].overlaps(nets[1])


def test_an_empty_block_of_no_enabled_pool_stays_with_its_host(client, ipam):
    made = pool(client, "10.1.0.0/24", 26, "a")
    pool(client, "10.2.0.0/24", 26, "b")
    take(ipam, pools4=["10.1.0.0/24"])
    ipam.release_by_handle("h")
    made.spec.disabled = True
    client.update(made)
    take(ipam)
    assert len(client.list(BlockAffinity).items) == 2
    check_invariants(client)


def test_a_refusal_leaves_no_configuration(client, ipam):
    pool(client, node_selector="name == 'k8s-m'")
    with pytest.raises(IPAMError, match="no configured Calico pools for node k8s-w0"):
        take(ipam)
    assert client.list(IPAMConfig).items == []


def test_with_strict_affinity_the_pools_are_no_reason(client, ipam):
    pool(client, "10.5.0.0/30", 30)
    take(ipam, host="k8s-m")
    config = ipam.config()
    config.spec.strict_affinity = True
    ipam.set_config(config)
    assert take(ipam).shortfall() == (
        "Assigned 0 out of 1 requested IPv4 addresses; No more free affine blocks and strict affinity enabled"
    )


def test_pools_that_cannot_be_cut_into_blocks(client, ipam):
    pool(client, "10.5.0.0/24", 33)
    with pytest.raises(IPAMError, match=r"^cannot find a qualified ippool$"):
        take(ipam)
    client.delete(IPPool, "p")
    pool(client, "10.5.0.0/24", 20)
    assert take(ipam).shortfall().endswith("No IPs available in pools: [10.5.0.0/24]")
    client.delete(IPPool, "p")
    pool(client, "10.0.0.0/8", 12)
    with pytest.raises(IPAMError, match="give its pool a larger blockSize"):
        take(ipam)


def test_a_pool_whose_selector_makes_no_sense_is_an_error(client, ipam):
    pool(client, "10.5.0.0/24", 26, "a", node_selector="((")
    pool(client, "10.6.0.0/24", 26, "b")
    with pytest.raises(IPAMError, match=r"^expected a label"):
        take(ipam)


class Picky(MemoryClient):
    """As the API server is about the names of objects."""

    def create(self, resource):
        if "_" in resource.metadata.name:
            raise Invalid(f"{resource.metadata.name} is no name")
        return super().create(resource)


def test_a_handle_that_can_have_no_record_is_released_all_the_same():
    client = Picky()
    client.transacts = False
    client.create(Node(metadata=ObjectMeta(name="k8s-w0")))
    pool(client)
    ipam = Allocator(client)
    assert take(ipam, handle="a_network.c1").addresses
    assert client.list(IPAMHandle).items == []
    assert ipam.release_by_handle("a_network.c1") == 1
    assert client.list(IPAMBlock).items[0].spec.attributes == []
    with pytest.raises(NotFound):
        ipam.release_by_handle("a_network.c1")
