"""Ten thousand addresses, five hundred of them leaked in every way: exactly those are given back."""

import time

import pytest
from gc_world import LEAKS, World

from pycalico.api.v3.ipam import IPAMHandle
from pycalico.controllers.kubernetes import KubernetesPod

GRACE_S = 1.5


@pytest.fixture
def world():
    return World()


def test_the_world_is_as_large_as_it_says(world):
    assert len(world.leaked) == sum(LEAKS.values()) == 500
    assert len(world.leaked) + len(world.used) == 10_000
    assert world.allocated() == world.leaked | world.used


def test_every_leak_is_freed_after_the_grace_period_and_nothing_else(world):
    everything = world.allocated()
    controller = world.controller(GRACE_S)
    try:
        began = time.monotonic()
        # A dead node's go at once; those of living nodes only after the grace period.
        world.until(lambda: not world.dead & world.allocated().keys(), 20)
        left = world.allocated()
        if time.monotonic() - began < GRACE_S:
            assert left.keys() == everything.keys() - world.dead
        late = {f"net.{pod.metadata.name}" for pod in world.late}
        world.until(lambda: set(world.allocated()) == set(world.used) | late, 30)
        # In doubt nothing was taken: now there is no doubt any more.
        world.statuses_arrive()
        world.until(lambda: world.allocated() == world.used, 30)
        # Nothing more happens, and no handle is left without an address.
        time.sleep(GRACE_S)
        assert world.allocated() == world.used
        assert {each.spec.handle_id for each in world.client.list(IPAMHandle).items} == set(world.used)
    finally:
        controller.stop()


@pytest.mark.parametrize("fault", ["old list, silent watch", "no fresh reads"])
def test_whatever_the_feed_does_no_address_in_use_is_freed(world, fault):
    kubernetes = world.kubernetes
    if fault == "old list, silent watch":
        # The list is of an hour ago: a third of the pods did not exist yet, and it has pods that are long gone.
        pods = {
            key: pod
            for number, (key, pod) in enumerate(kubernetes.objects[KubernetesPod].items())
            if number % 3
        }
        kubernetes.old = {**kubernetes.objects, KubernetesPod: pods}
        kubernetes.flowing.clear()
    else:
        # The feed believes that everything is gone, and nobody can be asked.
        kubernetes.old = {**kubernetes.objects, KubernetesPod: {}}
        kubernetes.unreachable = True
    controller = world.controller(0.5)
    try:
        time.sleep(4)
        left = world.allocated()
        assert world.used.items() <= left.items()
        if fault == "no fresh reads":
            # But the datastore can: the dead node is none of Calico's any more, and its tunnel no pod's.
            tunnel = {"ipip-tunnel-addr-dead"}
            assert left.keys() >= (world.used | world.leaked).keys() - tunnel
    finally:
        controller.stop()
