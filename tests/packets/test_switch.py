"""From iptables to nftables and back under traffic: nothing that is allowed gets lost, nothing that is denied gets through."""

import sys
import threading
import time
from pathlib import Path

import msgspec
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "netns"))
import dataplane_rig as rig
from random_policies import HOST_ADDRESSES, OUTSIDE, PODS
from reference import Packet
from underlay import Underlay

from pycalico.calc.messages import (
    IPSetType,
    IPSetUpdate,
    PolicyID,
    PolicyLists,
    PolicyUpdate,
    PortRange,
    Rule,
)

pytestmark = pytest.mark.netns

_PAIR = PODS[:2]
_POLICY = PolicyID("default", "default.only-80")
_STEPS = ("Disabled", "Enabled", "Disabled", "Enabled")
_GAP_S = 0.0008


def _world():
    allowed = Rule("allow", protocol="udp", src_ip_set_ids=("s:pods",), dst_ports=(PortRange(80, 80),))
    lists = (PolicyLists("default", (_POLICY.name,), ()),)
    members = tuple(f"{place.ipv4[0]}/32" for place in _PAIR)
    yield IPSetUpdate("s:pods", IPSetType("hash:net"), members)
    yield from rig.PROFILES
    yield PolicyUpdate(_POLICY, inbound=(allowed,), outbound=(), original_selector="all()")
    for place in _PAIR:
        pod = rig.workload(place.name, place.interface, f"{place.ipv4[0]}/32", tiers=lists)
        yield msgspec.structs.replace(pod, mac=place.mac)


def test_the_switch_loses_and_opens_nothing():
    with rig.namespace():
        rig.sh(
            "ip link set lo up; ip link add eth1 type veth peer name q2; ip link add eth0 type veth peer name q1"
        )
        underlay = Underlay(PODS, OUTSIDE, HOST_ADDRESSES).build()
        stop, sent, steps = threading.Event(), {80: [], 81: []}, []

        def traffic():
            source, target = _PAIR
            # A connection each, or only the first packet would ask a policy.
            number = 0
            while not stop.is_set():
                number += 1
                for port, probes in sent.items():
                    packet = Packet(source.ipv4[0], target.ipv4[0], "udp", 1024 + number % 60000, port)
                    probes.append((time.monotonic(), underlay.send(source.name, packet)))
                underlay.collect(_GAP_S)

        thread = None
        try:
            for mode in _STEPS:
                steps.append((time.monotonic(), mode))
                with rig.Rig(nftables_mode=mode).start(*_world()) as felix:
                    if thread is None:
                        time.sleep(0.2)
                        thread = threading.Thread(target=traffic)
                        thread.start()
                    rig.until(
                        lambda felix=felix: felix.dataplane.assembly.leftovers.done, what="the other gone"
                    )
                    time.sleep(0.3)
        finally:
            stop.set()
            if thread:
                thread.join()
            underlay.collect(0.5)
            arrived = set(underlay.arrived)
            underlay.close()
    assert len(sent[80]) > 300
    lost = [when for when, number in sent[80] if number not in arrived]
    opened = [when for when, number in sent[81] if number in arrived]
    assert not lost, f"{len(lost)} of {len(sent[80])} lost, {_since(steps, lost[0])}"
    assert not opened, f"{len(opened)} of {len(sent[81])} came through, {_since(steps, opened[0])}"


def _since(steps, when):
    began, mode = [step for step in steps if step[0] <= when][-1]
    return f"the first {when - began:.3f} s after the start with {mode}"
