"""What counts as leaked: the first proof, with clocks and worlds of the test's."""

import ipaddress
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pycalico.api.meta import ObjectMeta
from pycalico.api.v3.ipam import IPAMBlock
from pycalico.controllers import leakreport, leaks
from pycalico.controllers.ipamview import IPAMView
from pycalico.controllers.kubernetes import KubernetesPod, from_pod
from pycalico.datastore.kubernetes import core
from pycalico.ipam import block as blocks


class World:
    """Node n1, and pods by name."""

    def __init__(self, *pods, nodes=("n1",)):
        self.pods = {pod.metadata.name: pod for pod in pods}
        self.nodes = set(nodes)

    def kubernetes_node(self, node):
        return node

    def node_exists(self, name):
        return name in self.nodes

    def cached_pod(self, namespace, name):
        return self.pods.get(name)


def view(*addresses, cidr="10.0.0.0/26"):
    found = IPAMView()
    made = blocks.new(ipaddress.ip_network(cidr), "n1")
    for number, address in enumerate(addresses):
        attributes = {"node": "n1", "namespace": "default", "pod": f"p{number}"}
        blocks.assign_address(made.spec, int(ipaddress.ip_address(address)), f"net.p{number}", attributes)
    found.put_block(IPAMBlock(metadata=ObjectMeta(name="b"), spec=made.spec))
    return found


def pod(number, *addresses, node="n1"):
    known = frozenset(map(ipaddress.ip_address, addresses)) if addresses else None
    return KubernetesPod(
        metadata=ObjectMeta(name=f"p{number}", namespace="default"), node=node, addresses=known
    )


def only(found):
    [allocation] = found.suspected() or [None]
    return allocation


@pytest.mark.parametrize("grace_s", [900.0, 1.0])
def test_a_leak_is_confirmed_after_the_grace_period_and_not_before(grace_s):
    found = view("10.0.0.1")
    for now_s, confirmed in ((100.0, False), (100.0 + grace_s, False), (100.1 + grace_s, True)):
        leaks.examine(found, World(), now_s, grace_s)
        assert only(found).confirmed is confirmed
    assert only(found).why == "pod default/p0 does not exist"


@pytest.mark.parametrize("grace_s", [0.0, None])
def test_without_a_grace_period_nothing_of_a_living_node_is_confirmed(grace_s):
    found = view("10.0.0.1")
    for now_s in (0.0, 1e9):
        leaks.examine(found, World(), now_s, grace_s)
        assert found.confirmed() == []
    assert bool(found.suspected()) is (grace_s is not None)
    assert leakreport.next_ripe_s(found.suspected(), grace_s) is None


def test_a_jump_of_the_wall_clock_frees_nothing_early(monkeypatch):
    found, real = view("10.0.0.1"), time.time
    leaks.examine(found, World(), 50.0, 900.0)
    for jump_s in (-3600, 3600):
        monkeypatch.setattr(time, "time", lambda jump_s=jump_s: real() + jump_s)
        leaks.examine(found, World(), 60.0, 900.0)
        assert not only(found).confirmed
        # The report goes by the new clock, with what is left by the one that only goes forward.
        [leak] = leakreport.build(found, found.suspected(), 60.0, 900.0, dry_run=False)
        freed = time.mktime(time.strptime(leak.freed, "%Y-%m-%dT%H:%M:%SZ")) - time.timezone
        assert freed - time.time() == pytest.approx(890, abs=2)
    assert leakreport.next_ripe_s(found.suspected(), 900.0) == pytest.approx(950, abs=0.1)


@pytest.mark.parametrize(
    ("there", "why"),
    [
        (None, "pod default/p0 does not exist"),
        (pod(0, "10.0.0.9"), "pod default/p0 has another address: 10.0.0.9"),
        (pod(0, "10.0.0.9", node="n2"), "pod default/p0 runs on node n2"),
        (
            KubernetesPod(metadata=ObjectMeta(name="p0"), node="n1", addresses=frozenset()),
            "pod default/p0 has ended",
        ),
        (pod(0), None),
        (pod(0, "10.0.0.1"), None),
        (pod(0, "10.0.0.9", "10.0.0.1"), None),
    ],
)
def test_the_reason_is_told(there, why):
    found = view("10.0.0.1")
    leaks.examine(found, World(*([there] if there else [])), 0.0, 900.0)
    allocation = only(found)
    assert (allocation.why if allocation else None) == why


def test_a_pod_that_never_got_its_address_holds_up_a_deleted_node_for_the_grace_period_only():
    """Scenario: the node goes while pods on it are pending."""
    found, world = view("10.0.0.1", "10.0.0.2"), World(pod(0), pod(1, "10.0.0.2"), nodes=())
    for now_s, confirmed in ((0.0, []), (899.0, []), (901.0, ["10.0.0.1"])):
        findings = leaks.examine(found, world, now_s, 900.0)
        assert [str(each.address) for each in found.confirmed()] == confirmed
        # The other pod says that it has its address: that is believed for as long as the pod is there.
        assert findings.releasable == []
    del world.pods["p1"]
    assert leaks.examine(found, world, 902.0, 900.0).releasable == ["n1"]
    # Had its node come back in time, nothing would have happened.
    found, world = view("10.0.0.1"), World(pod(0), nodes=())
    leaks.examine(found, world, 0.0, 900.0)
    world.nodes.add("n1")
    leaks.examine(found, world, 901.0, 900.0)
    assert found.suspected() == []


def forms(address):
    """Ways to write an IPv6 address."""
    groups = address.exploded.split(":")
    short = [group.lstrip("0") or "0" for group in groups]
    yield from (
        str(address),
        address.exploded,
        ":".join(short),
        str(address).upper(),
        address.exploded.upper(),
    )
    dotted = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    yield ":".join([*short[:6], str(dotted)])
    for start in range(8):
        for end in range(start + 1, 9):
            if all(group == "0" for group in short[start:end]):
                yield ":".join(short[:start]) + "::" + ":".join(short[end:])


@given(st.integers(0, 63), st.data())
def test_however_a_pod_writes_its_address_it_is_not_freed(ordinal, data):
    network = ipaddress.ip_network("fd00:0:0:10::/122")
    address = network[ordinal]
    found = view(address, cidr=str(network))
    text = data.draw(st.sampled_from(list(forms(address))))
    assert ipaddress.ip_address(text) == address
    told = from_pod(
        core.Pod(
            metadata=ObjectMeta(name="p0", namespace="default"),
            spec=core.PodSpec(node_name="n1"),
            status=core.PodStatus(phase="Running", pod_ip=text, pod_ips=[core.PodIP(text)]),
        )
    )
    leaks.examine(found, World(told), 0.0, 900.0)
    assert found.suspected() == []
