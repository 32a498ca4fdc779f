"""An agent whose memory of a block is old, since somebody else wrote it: no answer may come of that alone."""

import ipaddress
import time

import pytest

from pycalico.api import names
from pycalico.api.meta import ObjectMeta
from pycalico.api.v3.ipam import BlockAffinity, IPAMBlock, IPAMConfig, IPAMConfigSpec, IPAMHandle
from pycalico.api.v3.ippool import IPPool, IPPoolSpec
from pycalico.api.v3.node import Node
from pycalico.cni.agent.memory import MemoryClient
from pycalico.datastore.errors import NotFound
from pycalico.datastore.memory import MemoryClient as Store
from pycalico.ipam import block as blocks
from pycalico.ipam.allocator import Allocator
from pycalico.ipam.block import Release
from pycalico.ipam.errors import AlreadyAssigned


class Transacting(Store):
    transacts = True


@pytest.fixture(params=[Store, Transacting], ids=["single writes", "transactions"])
def store(request):
    store = request.param()
    store.create(Node(metadata=ObjectMeta(name="n")))
    spec = IPPoolSpec(cidr="10.0.0.0/28", block_size=30, node_selector="all()")
    store.create(IPPool(metadata=ObjectMeta(name="p"), spec=spec))
    limits = IPAMConfigSpec(auto_allocate_blocks=True, max_blocks_per_host=1)
    store.create(IPAMConfig(metadata=ObjectMeta(name="default"), spec=limits))
    return store


@pytest.fixture
def agent(store):
    client = MemoryClient(store, "n")
    yield Allocator(client, shared=True)
    client.close()


@pytest.fixture
def elsewhere(store):
    return Allocator(store)


def take(ipam, handle):
    return ipam.auto_assign(1, 0, handle, {"node": "n"}, "n")[0].addresses


def held(store):
    found = {}
    for block in store.list(IPAMBlock).items:
        first, version = blocks.base_of(block.spec)
        for ordinal, holder in blocks.allocated(block.spec):
            found.setdefault(holder.handle, []).append(blocks.text(first + ordinal, version))
    return found


def test_release_of_what_another_assigned(store, agent, elsewhere):
    take(agent, "a")
    take(elsewhere, "b")
    assert agent.release_by_handle("b") == 1
    assert list(held(store)) == ["a"]
    assert [item.spec.handle_id for item in store.list(IPAMHandle).items] == ["a"]


def test_release_of_addresses_that_another_assigned(store, agent, elsewhere):
    take(agent, "a")
    (address,) = take(elsewhere, "b")
    assert agent.release_ips([Release(address.split("/")[0], "b")]) == []
    assert list(held(store)) == ["a"]


def test_an_address_that_another_gave_back_can_be_asked_for(store, agent, elsewhere):
    (address,) = take(agent, "a")
    wanted = address.split("/")[0]
    elsewhere.release_by_handle("a")
    agent.assign_ip(wanted, "b", {}, "n")
    assert held(store) == {"b": [wanted]}
    with pytest.raises(AlreadyAssigned):
        agent.assign_ip(wanted, "c", {}, "n")


def test_a_full_block_that_another_emptied_is_used_again(store, agent, elsewhere):
    for number in range(4):
        take(agent, f"a{number}")
    for number in range(4):
        elsewhere.release_by_handle(f"a{number}")
    assert take(agent, "b")
    assert list(held(store)) == ["b"]


def test_a_full_block_of_another_host_that_was_emptied_is_borrowed_from(store, agent, elsewhere):
    store.create(Node(metadata=ObjectMeta(name="m")))
    limits = store.get(IPAMConfig, "default")
    limits.spec.max_blocks_per_host = 3
    store.update(limits)
    for number in range(12):
        elsewhere.auto_assign(1, 0, f"m{number}", {"node": "m"}, "m")
    for number in range(4):
        take(agent, f"n{number}")
    # All that the agent can see is full, and it remembers that.
    assert not agent.auto_assign(1, 0, "x", {"node": "n"}, "n")[0].addresses
    elsewhere.release_by_handle("m2")
    assert agent.auto_assign(1, 0, "y", {"node": "n"}, "n")[0].addresses


@pytest.mark.parametrize("state", ["confirmed", "pendingDeletion"])
def test_a_block_that_was_another_host_s_and_is_this_one_s_now_is_used(store, agent, elsewhere, state):
    """Its affinity, which is right, must not go because the agent remembers the block otherwise."""
    (address,) = take(agent, "a")
    home = ipaddress.ip_network(address, strict=False)
    for owner in ("host:m", "host:n"):
        block = store.get(IPAMBlock, names.block(str(home)))
        block.spec.affinity = owner
        store.update(block)
        if owner == "host:m":
            agent.records.look_anew(time.monotonic())
            assert agent.records.block(home).spec.affinity == owner
    (affinity,) = store.list(BlockAffinity).items
    affinity.spec.state = state
    store.update(affinity)
    (another,) = take(agent, "b")
    assert ipaddress.ip_interface(another).ip in home
    (affinity,) = store.list(BlockAffinity).items
    assert affinity.spec.state == "confirmed"


def test_what_nobody_has_is_not_there(agent):
    take(agent, "a")
    with pytest.raises(NotFound):
        agent.release_by_handle("nobody")
