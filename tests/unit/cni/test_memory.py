import time

import pytest

from pycalico.api.meta import ObjectMeta
from pycalico.api.v3.ipam import (
    AllocationAttribute,
    BlockAffinity,
    BlockAffinitySpec,
    IPAMBlock,
    IPAMBlockSpec,
    IPAMConfig,
    IPAMHandle,
)
from pycalico.api.v3.ippool import IPPool, IPPoolSpec
from pycalico.cni.agent.memory import MemoryClient
from pycalico.datastore.errors import Conflict, NotFound, Unauthorized
from pycalico.datastore.memory import MemoryClient as Store


class Counting(Store):
    def __init__(self):
        super().__init__()
        self.reads = []

    def get(self, kind, name, namespace="", *, revision=""):
        self.reads.append(name)
        return super().get(kind, name, namespace, revision=revision)


@pytest.fixture
def store():
    return Counting()


@pytest.fixture
def client(store):
    client = MemoryClient(store, "n")
    client.start()
    deadline = time.monotonic() + 5
    while not client._known:
        assert time.monotonic() < deadline
        time.sleep(0.005)
    yield client
    client.close()


def block(name="b", affinity="host:n"):
    return IPAMBlock(
        metadata=ObjectMeta(name=name), spec=IPAMBlockSpec(cidr="10.0.0.0/24", affinity=affinity)
    )


def until(check):
    deadline = time.monotonic() + 5
    while not check():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_own_writes_are_read_without_asking(store, client):
    client.create(block())
    found = client.get(IPAMBlock, "b")
    found.spec.sequence_number = 7
    client.update(found)
    store.reads.clear()
    assert client.get(IPAMBlock, "b").spec.sequence_number == 7
    assert store.reads == []


def test_what_the_caller_changes_stays_its_own(client):
    client.create(block())
    client.get(IPAMBlock, "b").spec.sequence_number = 99
    assert client.get(IPAMBlock, "b").spec.sequence_number != 99


def test_a_refused_write_makes_it_look_again(store, client):
    client.create(block())
    mine = client.get(IPAMBlock, "b")
    theirs = store.get(IPAMBlock, "b")
    theirs.spec.sequence_number = 5
    store.update(theirs)
    with pytest.raises(Conflict):
        client.update(mine)
    assert client.get(IPAMBlock, "b").spec.sequence_number == 5


def test_a_block_that_others_deleted_is_a_conflict_and_then_gone(store, client):
    client.create(block())
    mine = client.get(IPAMBlock, "b")
    store.delete(IPAMBlock, "b")
    with pytest.raises(Conflict):
        client.update(mine)
    client.create(block())
    store.delete(IPAMBlock, "b")
    with pytest.raises(Conflict):
        client.delete(IPAMBlock, "b", revision=mine.metadata.resource_version)
    with pytest.raises(NotFound):
        client.get(IPAMBlock, "b")


def test_pools_are_followed(store, client):
    store.create(IPPool(metadata=ObjectMeta(name="p"), spec=IPPoolSpec(cidr="10.0.0.0/16")))
    until(lambda: [item.metadata.name for item in client.list(IPPool).items] == ["p"])
    store.delete(IPPool, "p")
    until(lambda: not client.list(IPPool).items)


def test_a_refused_create_does_not_hide_the_object_from_lists(store, client):
    affinity = BlockAffinity(
        metadata=ObjectMeta(name="a"), spec=BlockAffinitySpec(state="pending", node="n", cidr="10.0.0.0/24")
    )
    store.create(affinity)
    until(lambda: client.list(BlockAffinity).items)
    with pytest.raises(Exception, match="already exists"):
        client.create(affinity)
    assert [item.metadata.name for item in client.list(BlockAffinity).items] == ["a"]


def test_what_was_read_since_is_not_read_again(store, client):
    client.create(block())
    client.create(block("c"))
    came_s = time.monotonic()
    store.reads.clear()
    assert client.look_anew(came_s, ["b", "nowhere"])
    assert store.reads == ["b"]
    assert not client.look_anew(came_s, ["b", "nowhere"])
    client.get(IPAMBlock, "b")
    assert store.reads == ["b"]
    client.get(IPAMBlock, "c")
    assert store.reads == ["b", "c"]


def test_a_block_that_is_read_anew_and_gone_is_forgotten(store, client):
    client.create(block())
    store.delete(IPAMBlock, "b")
    assert client.look_anew(time.monotonic(), ["b"])
    with pytest.raises(NotFound):
        client.get(IPAMBlock, "b")


def test_many_handles_push_no_block_out(store, client):
    client.create(block())
    for number in range(2100):
        client.create(IPAMHandle(metadata=ObjectMeta(name=f"h{number}")))
    store.reads.clear()
    client.get(IPAMBlock, "b")
    client.get(IPAMHandle, "h2099")
    assert store.reads == []
    client.get(IPAMHandle, "h0")
    assert store.reads == ["h0"]


def test_whether_a_block_is_full_is_known_without_asking(store, client):
    client.create(block())
    assert client.is_full("b")
    found = client.get(IPAMBlock, "b")
    found.spec.unallocated = [0]
    client.update(found)
    assert not client.is_full("b")
    assert not client.is_full("nowhere")
    found = client.get(IPAMBlock, "b")
    found.spec.unallocated, found.spec.allocations = [], [0]
    found.spec.attributes = [AllocationAttribute(released_at="2026-11-23T05:33:13Z")]
    client.update(found)
    assert not client.is_full("b"), "an address that rests will be free"


def test_the_affinities_of_this_node_are_told_apart(store, client):
    for node, name in (("n", "n-10-0-1-0-24"), ("n-1", "n-1-10-0-0-0-24"), ("n", "n-10-0-0-0-24")):
        cidr = ".".join(name.split("-")[-5:-1]) + "/24"
        spec = BlockAffinitySpec(state="confirmed", node=node, cidr=cidr)
        store.create(BlockAffinity(metadata=ObjectMeta(name=name), spec=spec))
    until(lambda: len(client.list(BlockAffinity).items) == 3)

    def of(node):
        return [item.metadata.name for item in client.affinities_of(node)]

    assert of("n") == ["n-10-0-0-0-24", "n-10-0-1-0-24"]
    assert of("n-1") == ["n-1-10-0-0-0-24"]
    store.delete(BlockAffinity, "n-10-0-1-0-24")
    until(lambda: of("n") == ["n-10-0-0-0-24"])


class Refusing:
    """A store whose account may not list some kinds, as upstream's roles for the plugin."""

    def __init__(self, store, refused):
        self._store, self._refused = store, refused

    def list(self, kind, *arguments, **options):
        if kind in self._refused:
            raise Unauthorized(f"{kind.__name__} is forbidden")
        return self._store.list(kind, *arguments, **options)

    def __getattr__(self, name):
        return getattr(self._store, name)


def test_what_may_not_be_watched_is_read_from_the_driver(store):
    store.create(IPAMConfig(metadata=ObjectMeta(name="default")))
    client = MemoryClient(store, "n", Refusing(store, {IPAMConfig}))
    client.start()
    try:
        deadline = time.monotonic() + 5
        while not client._known:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert "IPPool" in client._known
        assert "IPAMConfig" not in client._known
        found = store.get(IPAMConfig, "default")
        found.spec.strict_affinity = True
        store.update(found)
        assert client.get(IPAMConfig, "default").spec.strict_affinity
        assert len(client.list(IPPool).items) == len(store.list(IPPool).items)
    finally:
        client.close()
