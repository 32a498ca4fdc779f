"""Released addresses that rest (ipCooldownSeconds): who gets them, when, and what others make of the records."""

import time

import msgspec
import pytest
from test_allocator import check_invariants, pool, take

from pycalico.api.meta import ObjectMeta
from pycalico.api.v3.ipam import AllocationAttribute, IPAMBlock, IPAMConfig, IPAMHandle
from pycalico.api.v3.node import Node
from pycalico.api.v3.workloadendpoint import WorkloadEndpoint, WorkloadEndpointSpec
from pycalico.datastore.errors import NotFound, Unauthorized
from pycalico.datastore.etcd import ipamforms
from pycalico.datastore.memory import MemoryClient
from pycalico.ipam import audit, block
from pycalico.ipam.allocator import Allocator
from pycalico.ipam.errors import NotAllocated

LONG_AGO = "2020-01-01T00:00:00Z"
KEY = "/calico/ipam/v2/assignment/ipv4/block/10.0.0.0-30"


@pytest.fixture(params=[True, False], ids=["transactions", "single writes"])
def client(request):
    client = MemoryClient()
    client.transacts = request.param
    client.create(Node(metadata=ObjectMeta(name="k8s-w0")))
    pool(client, "10.0.0.0/30", 30)
    return client


@pytest.fixture
def ipam(client):
    ipam = Allocator(client)
    rest(ipam, 60)
    return ipam


def rest(ipam, seconds):
    config = ipam.config()
    config.spec.ip_cooldown_seconds = seconds
    ipam.set_config(config)


def the_block(client):
    return client.list(IPAMBlock).items[0]


def age(client):
    """What rests has rested for years."""
    found = the_block(client)
    for attribute in found.spec.attributes:
        if block.rests(attribute):
            attribute.released_at = attribute.secondary[block.RELEASED_AT] = LONG_AGO
    client.update(found)


@pytest.mark.parametrize("by", ["handle", "address"])
def test_a_released_address_is_nobodys_until_it_has_rested(client, ipam, by):
    address = take(ipam, handle="a").addresses[0].split("/")[0]
    before_s = int(time.time())
    if by == "handle":
        assert ipam.release_by_handle("a") == 1
    else:
        assert ipam.release_ips([address]) == []
    with pytest.raises(NotFound):
        client.get(IPAMHandle, "a")
    with pytest.raises(NotAllocated):
        ipam.assignment_attributes(address)
    assert ipam.release_ips([address]) == [address]
    assert before_s <= block.rests_since_s(the_block(client).spec) <= time.time()
    others = take(ipam, 4, handle="b").addresses
    assert len(others) == 3
    assert f"{address}/30" not in others
    age(client)
    assert take(ipam, handle="c").addresses == [f"{address}/30"]
    assert not any(map(block.rests, the_block(client).spec.attributes))
    check_invariants(client)


def test_without_a_rest_no_byte_is_another(client):
    ipam = Allocator(client)
    take(ipam, handle="a")
    ipam.release_by_handle("a")
    assert the_block(client).spec.unallocated == [1, 2, 3, 0]
    assert b"cooldown" not in msgspec.json.encode(client.get(IPAMConfig, "default")).lower()
    assert b"releasedAt" not in msgspec.json.encode(the_block(client))
    assert b"releasedAt" not in ipamforms.encode_block(the_block(client))


def test_what_was_never_used_needs_no_rest(client, ipam):
    take(ipam, handle="a")
    assert ipam.release_by_handle("a", unused=True) == 1
    address = take(ipam, 4, handle="b").addresses[-1]
    ipam.release_ips([address.split("/")[0]], unused=True)
    assert take(ipam, handle="c").addresses == [address]


def test_who_asks_for_an_address_by_name_gets_it(client, ipam):
    address = take(ipam, handle="a").addresses[0].split("/")[0]
    ipam.release_by_handle("a")
    ipam.assign_ip(address, "b", {"pod": "p"}, "k8s-w0")
    assert ipam.assignment_attributes(address).handle == "b"
    check_invariants(client)


def test_turned_off_nothing_rests_any_more(client, ipam):
    take(ipam, 4, handle="a")
    ipam.release_by_handle("a")
    assert take(ipam, handle="b").addresses == []
    rest(ipam, 0)
    assert take(ipam, handle="b").addresses


def test_a_block_that_nobody_looks_at(client, ipam):
    take(ipam, handle="a")
    ipam.release_by_handle("a")
    cidr = the_block(client).spec.cidr
    assert not ipam.end_rests(cidr)
    ipam.release_host_affinities("k8s-w0", must_be_empty=False)
    age(client)
    assert ipam.end_rests(cidr)
    assert client.list(IPAMBlock).items == []
    assert not ipam.end_rests(cidr)


def test_a_block_in_which_something_rests_is_not_empty(client, ipam):
    take(ipam, handle="a")
    ipam.release_by_handle("a")
    assert not block.is_empty(the_block(client).spec)
    age(client)
    ipam.release_host_affinities("k8s-w0", must_be_empty=True)
    assert client.list(IPAMBlock).items == []


def test_an_account_that_may_not_see_the_configuration_ends_no_rest(client, ipam, monkeypatch):
    take(ipam, handle="a")
    ipam.release_by_handle("a")
    age(client)
    get = client.get

    def forbidden(kind, *arguments, **options):
        if kind is IPAMConfig:
            raise Unauthorized("no", forbidden=True)
        return get(kind, *arguments, **options)

    monkeypatch.setattr(client, "get", forbidden)
    assert not ipam.end_rests(the_block(client).spec.cidr)
    assert block.rests_since_s(the_block(client).spec) is not None


def test_it_rests_also_where_the_field_was_dropped(client, ipam):
    """By the definitions of v3.28.1, or by a v3.28.1 component that wrote the block since."""
    take(ipam, handle="a")
    ipam.release_by_handle("a")
    found = the_block(client)
    for attribute in found.spec.attributes:
        attribute.released_at = None
    client.update(found)
    assert len(take(ipam, 4, handle="b").addresses) == 3
    found = the_block(client)
    for attribute in found.spec.attributes:
        if block.rests(attribute):
            attribute.secondary[block.RELEASED_AT] = LONG_AGO
    client.update(found)
    assert len(take(ipam, handle="c").addresses) == 1


def test_it_rests_also_when_a_later_calico_wrote_it(client, ipam):
    value = (
        b'{"cidr":"10.0.0.0/30","affinity":"host:k8s-w0","allocations":[0,1,null,null],"unallocated":[2,3],'
        b'"attributes":[{"releasedAt":"2099-01-01T00:00:00Z"},{"releasedAt":"2020-01-01T00:00:00+02:00"}],'
        b'"sequenceNumber":7,"sequenceNumberForAllocation":{"0":5,"1":6},"deleted":false}'
    )
    found = ipamforms.decode_block(KEY, value)
    assert [block.rests(each) for each in found.spec.attributes] == [True, True]
    assert list(block.allocated(found.spec)) == []
    client.create(found)
    ipam.end_rests("10.0.0.0/30")
    left = the_block(client).spec
    assert (left.unallocated, left.allocations) == ([2, 3, 1], [0, None, None, None])
    assert b'"releasedAt":"2099-01-01T00:00:00Z"' in ipamforms.encode_block(the_block(client))


def test_a_time_that_makes_no_sense_has_passed():
    spec = block.new(block.network(ipamforms.decode_block(KEY, b"{}").spec), "h").spec
    spec.attributes = [AllocationAttribute(released_at="soon")]
    spec.allocations[2], spec.unallocated = 0, [0, 1, 3]
    assert block.end_rest(spec, 1.0)
    assert (spec.unallocated, spec.attributes) == ([0, 1, 3, 2], [])


def test_the_audit_calls_it_no_leak_and_misses_it_where_it_is_used(client, ipam):
    address = take(ipam, handle="net.c1").addresses[0].split("/")[0]
    ipam.release_by_handle("net.c1")
    assert len(audit.survey(client)) == 0
    spec = WorkloadEndpointSpec(
        node="k8s-w0", orchestrator="k8s", pod="p", endpoint="eth0", ip_networks=[f"{address}/32"]
    )
    endpoint = WorkloadEndpoint(metadata=ObjectMeta(name="k8s--w0-k8s-p-eth0", namespace="ns"), spec=spec)
    assert [
        use.address
        for use in audit.compare(
            [the_block(client)], [endpoint], client.list(type(pool(client, name="q"))).items
        ).missing
    ] == [address]
