"""Many callers of one process at once: their changes of a block share writes, and nobody's is lost."""

import ipaddress
import threading
import time

import pytest

from pycalico.api.meta import ObjectMeta
from pycalico.api.v3.ipam import IPAMBlock, IPAMHandle
from pycalico.api.v3.ippool import IPPool, IPPoolSpec
from pycalico.api.v3.node import Node
from pycalico.datastore.errors import Unavailable
from pycalico.datastore.memory import MemoryClient
from pycalico.ipam import block as blocks
from pycalico.ipam.allocator import Allocator
from pycalico.ipam.commits import Change
from pycalico.ipam.errors import AlreadyAssigned

CALLERS = 24


class Slow(MemoryClient):
    """Writes take their time, as on a network; each write of a block is counted."""

    def __init__(self, transacts):
        super().__init__()
        self.transacts = transacts
        self.block_writes = 0
        self.failing = False

    def update(self, resource):
        if isinstance(resource, IPAMBlock) and self.transacts is False:
            self._block_write()
        return super().update(resource)

    def transact(self, writes):
        self._block_write()
        return super().transact(writes)

    def _block_write(self):
        if self.failing:
            raise Unavailable("away")
        self.block_writes += 1
        time.sleep(0.005)


@pytest.fixture(params=[True, False], ids=["transactions", "single writes"])
def client(request):
    client = Slow(request.param)
    client.create(Node(metadata=ObjectMeta(name="n")))
    spec = IPPoolSpec(cidr="10.0.0.0/16", block_size=24, node_selector="all()")
    client.create(IPPool(metadata=ObjectMeta(name="p"), spec=spec))
    return client


def at_once(work):
    """``work(number)`` in as many threads as there are callers; what they returned or raised."""
    outcomes = {}
    start = threading.Barrier(CALLERS)

    def run(number):
        start.wait()
        try:
            outcomes[number] = work(number)
        except Exception as error:  # noqa: BLE001 - told to the test
            outcomes[number] = error

    threads = [threading.Thread(target=run, args=(number,)) for number in range(CALLERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    return outcomes


def test_callers_share_writes_and_each_gets_an_address_of_its_own(client):
    ipam = Allocator(client, shared=True)
    ipam.ensure_block("n", 4)
    before = client.block_writes
    outcomes = at_once(
        lambda number: ipam.auto_assign(1, 0, f"net.c{number}", {"node": "n"}, "n")[0].addresses
    )
    assert not [found for found in outcomes.values() if isinstance(found, Exception)]
    assert len({address for found in outcomes.values() for address in found}) == CALLERS
    assert client.block_writes - before <= CALLERS // 3
    assert len(client.list(IPAMHandle).items) == CALLERS

    before = client.block_writes
    assert set(at_once(lambda number: ipam.release_by_handle(f"net.c{number}")).values()) == {1}
    assert client.block_writes - before <= CALLERS // 3
    assert client.list(IPAMHandle).items == []
    (block,) = client.list(IPAMBlock).items
    assert set(block.spec.allocations) == {None}


def test_two_allocators_at_once_as_agent_and_plugin(client):
    shared, alone = Allocator(client, shared=True), Allocator(client)

    def work(number):
        ipam = shared if number % 2 else alone
        return ipam.auto_assign(1, 0, f"net.c{number}", {"node": "n"}, "n")[0].addresses

    outcomes = at_once(work)
    assert not [found for found in outcomes.values() if isinstance(found, Exception)]
    assert len({address for found in outcomes.values() for address in found}) == CALLERS


def test_a_datastore_that_goes_away_fails_every_waiting_caller(client):
    ipam = Allocator(client, shared=True)
    ipam.ensure_block("n", 4)
    client.failing = True
    outcomes = at_once(lambda number: ipam.auto_assign(1, 0, f"net.c{number}", {"node": "n"}, "n"))
    assert {type(found) for found in outcomes.values()} == {Unavailable}
    client.failing = False
    assert ipam.auto_assign(1, 0, "net.later", {"node": "n"}, "n")[0].complete


def test_one_refused_change_does_not_harm_those_it_shares_a_write_with(client):
    ipam = Allocator(client, shared=True)
    ipam.assign_ip("10.0.0.7", "net.first", {}, "n")
    outcomes = at_once(lambda number: ipam.assign_ip(f"10.0.0.{number}", f"net.c{number}", {}, "n"))
    refused = [number for number, found in outcomes.items() if found is not None]
    assert refused == [7]
    assert {item.spec.handle_id for item in client.list(IPAMHandle).items} == {
        "net.first", *(f"net.c{number}" for number in range(CALLERS) if number != 7)
    }  # fmt: skip


def test_a_lost_race_decides_nothing_for_those_that_shared_the_write(client):
    """Nothing to do, or a refusal, that was found out on the block as it would have become."""
    ipam, elsewhere = Allocator(client, shared=True), Allocator(client)
    ipam.assign_ip("10.0.0.1", "net.a", {}, "n")
    (old,) = client.list(IPAMBlock).items
    elsewhere.assign_ip("10.0.0.9", "net.other", {}, "n")

    def release(spec):
        return {"net.a": -1} if blocks.release_handle(spec, "net.a") else None

    def assign(spec):
        blocks.assign_address(spec, int(ipaddress.ip_address("10.0.0.2")), "net.b", {})
        return {"net.b": 1}

    both = [Change(release), Change(release), Change(assign), Change(assign)]
    ipam._commits._write(old, both)
    assert [(change.written, change.error) for change in both] == [(False, None)] * 4
    (now,) = client.list(IPAMBlock).items
    ipam._commits._write(now, both)
    assert [change.error for change in both[:3]] == [None] * 3
    assert isinstance(both[3].error, AlreadyAssigned)
    (now,) = client.list(IPAMBlock).items
    assert {holder.handle for _, holder in blocks.allocated(now.spec)} == {"net.b", "net.other"}
