"""Anything in any order, and the process gone between any two writes: what must hold after every step."""

import ipaddress

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from pycalico.api.meta import ObjectMeta
from pycalico.api.v3.ipam import BlockAffinity, IPAMBlock, IPAMHandle
from pycalico.api.v3.ippool import IPPool, IPPoolSpec
from pycalico.api.v3.ipreservation import IPReservation, IPReservationSpec
from pycalico.api.v3.node import Node
from pycalico.datastore.errors import Conflict, NotFound
from pycalico.datastore.memory import MemoryClient
from pycalico.ipam.allocator import Allocator
from pycalico.ipam.errors import IPAMError

HOSTS = ("a", "b", "c")
POOL = "10.0.0.0/25"
SIZES = (27, 28, 29)
hosts = st.sampled_from(HOSTS)
handles = st.sampled_from([f"net.c{number}" for number in range(12)])
#: How many writes come about before the process is gone; most often it lives.
lives = st.one_of(st.just(1000), st.integers(0, 6))


class Gone(Exception):
    """The process ended here."""


class Mortal(MemoryClient):
    """After ``left`` more writes nothing is written any more."""

    def __init__(self):
        super().__init__()
        self.left = 1000
        self._within = False

    def _count(self, write, *arguments, **options):
        if self._within:
            return write(*arguments, **options)
        if self.left <= 0:
            raise Gone
        self.left -= 1
        self._within = True
        try:
            return write(*arguments, **options)
        finally:
            self._within = False

    def create(self, resource):
        return self._count(super().create, resource)

    def update(self, resource):
        return self._count(super().update, resource)

    def delete(self, *arguments, **options):
        return self._count(super().delete, *arguments, **options)

    def transact(self, writes):
        return self._count(super().transact, writes)


class Machine(RuleBasedStateMachine):
    """``held`` is what was promised: address → handle, and by handle what may be held besides, after an end within."""

    @initialize(transacts=st.booleans(), size=st.sampled_from(SIZES), shared=st.booleans())
    def begin(self, transacts, size, shared):
        self.client = Mortal()
        self.client.transacts = transacts
        for host in HOSTS:
            self.client.create(Node(metadata=ObjectMeta(name=host, labels={"host": host})))
        self.client.create(
            IPPool(
                metadata=ObjectMeta(name="p"),
                spec=IPPoolSpec(cidr=POOL, block_size=size, node_selector="all()"),
            )
        )
        self.ipam = Allocator(self.client, shared=shared)
        self.held: dict[str, str] = {}
        self.unsure: set[str] = set()

    def act(self, life, work, *arguments, **options):
        """What the work returned; None when it was refused, or the process was gone before its end."""
        self.client.left = life
        try:
            return work(*arguments, **options)
        except (IPAMError, NotFound, Conflict):
            return None
        except Gone:
            for argument in (*arguments, *options.values()):
                if isinstance(argument, str) and argument.startswith("net."):
                    self.unsure.add(argument)
            return None
        finally:
            self.client.left = 10**9

    @rule(host=hosts, handle=handles, count=st.integers(1, 6), life=lives)
    def assign(self, host, handle, count, life):
        outcome = self.act(life, self.ipam.auto_assign, count, 0, handle, {"node": host}, host)
        for address in outcome[0].addresses if outcome else []:
            bare = address.split("/")[0]
            assert bare not in self.held, f"{bare} given twice"
            self.held[bare] = handle

    @rule(host=hosts, handle=handles, number=st.integers(0, 127), life=lives)
    def assign_given(self, host, handle, number, life):
        address = str(ipaddress.ip_network(POOL)[number])
        before = self.held.get(address)
        self.client.left = life
        try:
            self.ipam.assign_ip(address, handle, {"node": host}, host)
        except (IPAMError, NotFound, Conflict):
            return
        except Gone:
            self.unsure.add(handle)
            return
        finally:
            self.client.left = 10**9
        assert before is None, f"{address} given twice"
        self.held[address] = handle

    @rule(handle=handles, life=lives)
    def release(self, handle, life):
        self.act(life, self.ipam.release_by_handle, handle)
        if handle in self.unsure:
            self.act(10**9, self.ipam.release_by_handle, handle)
            self.unsure.discard(handle)
        assert not self._allocated(handle)
        self.held = {address: other for address, other in self.held.items() if other != handle}

    @rule(data=st.data(), life=lives)
    def release_addresses(self, data, life):
        if not self.held:
            return
        addresses = data.draw(st.lists(st.sampled_from(sorted(self.held)), min_size=1, max_size=3))
        self.act(life, self.ipam.release_ips, addresses)
        left = {address for handle in set(self.held.values()) for address in self._allocated(handle)}
        for address in addresses:
            if address in left:
                assert life < 10
            else:
                self.held.pop(address, None)

    @rule(host=hosts, life=lives)
    def give_back(self, host, life):
        self.act(life, self.ipam.release_host_affinities, host, must_be_empty=True)

    @rule(host=hosts, life=lives)
    def remove_host(self, host, life):
        self.act(life, self.ipam.release_host_affinities, host, must_be_empty=False)

    @rule(strict=st.booleans())
    def strictness(self, strict):
        config = self.ipam.config()
        config.spec.strict_affinity = strict
        self.client.update(config)

    @rule(size=st.sampled_from(SIZES), selected=st.sampled_from(["all()", "host in {'a', 'b'}"]))
    def edit_pool(self, size, selected):
        """A block size cannot be edited, but a pool be deleted and made again."""
        self.client.delete(IPPool, "p")
        self.client.create(
            IPPool(
                metadata=ObjectMeta(name="p"),
                spec=IPPoolSpec(cidr=POOL, block_size=size, node_selector=selected),
            )
        )

    @rule(cidr=st.sampled_from(["10.0.0.0/30", "10.0.0.32/27", ""]))
    def reserve(self, cidr):
        for item in self.client.list(IPReservation).items:
            self.client.delete(IPReservation, item.metadata.name)
        if cidr:
            spec = IPReservationSpec(reserved_cidrs=[cidr])
            self.client.create(IPReservation(metadata=ObjectMeta(name="r"), spec=spec))

    def _allocated(self, handle):
        return {
            str(ipaddress.ip_network(found.spec.cidr)[ordinal])
            for found in self.client.list(IPAMBlock).items
            for ordinal, index in enumerate(found.spec.allocations)
            if index is not None and found.spec.attributes[index].handle_id == handle
        }

    @invariant()
    def promises_are_kept(self):
        if not hasattr(self, "client"):
            return
        real: dict[str, str] = {}
        counts: dict[tuple[str, str], int] = {}
        networks = []
        for found in self.client.list(IPAMBlock).items:
            spec = found.spec
            network = ipaddress.ip_network(spec.cidr)
            networks.append(network)
            free = [ordinal for ordinal, index in enumerate(spec.allocations) if index is None]
            assert sorted(spec.unallocated) == free
            assert {index for index in spec.allocations if index is not None} == set(
                range(len(spec.attributes))
            )
            for ordinal, index in enumerate(spec.allocations):
                if index is not None:
                    handle = spec.attributes[index].handle_id
                    real[str(network[ordinal])] = handle
                    counts[handle, spec.cidr] = counts.get((handle, spec.cidr), 0) + 1
        for one in networks:
            assert not any(one is not other and one.overlaps(other) for other in networks)
        for address, handle in self.held.items():
            assert real.get(address) == handle, f"{address} of {handle} is lost"
        for address, handle in real.items():
            assert address in self.held or handle in self.unsure, f"{address} leaked to {handle}"
        claims = {
            (found.spec.handle_id, cidr): count
            for found in self.client.list(IPAMHandle).items
            for cidr, count in found.spec.block.items()
        }
        for key, count in counts.items():
            assert claims.get(key, 0) >= count, f"{key} is not known to its handle"
        owners = {found.spec.cidr: found.spec.affinity for found in self.client.list(IPAMBlock).items}
        for affinity in self.client.list(BlockAffinity).items:
            if affinity.spec.state == "confirmed":
                assert owners.get(affinity.spec.cidr) == f"host:{affinity.spec.node}"

    def teardown(self):
        """Every pod goes, and with it all that was ever written for it."""
        if not hasattr(self, "client"):
            return
        for handle in {found.spec.handle_id for found in self.client.list(IPAMHandle).items}:
            self.act(10**9, self.ipam.release_by_handle, handle)
        assert self.client.list(IPAMHandle).items == []
        assert all(
            index is None for found in self.client.list(IPAMBlock).items for index in found.spec.allocations
        )
        for host in HOSTS:
            self.ipam.release_host_affinities(host, must_be_empty=True)
        assert self.client.list(BlockAffinity).items == []
        assert self.client.list(IPAMBlock).items == []


@pytest.mark.parametrize("examples", [200])
def test_nothing_is_lost_or_given_twice(examples):
    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=40,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
