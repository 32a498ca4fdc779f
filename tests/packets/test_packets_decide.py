"""Random policies on the real kernel: each packet fares as Calico's documentation says, not as our code thinks."""

import secrets
import time

import pytest
from packet_lab import PacketLab, World, run, tell
from random_policies import PODS
from underlay import HOST

from pycalico.kernel import netns

pytestmark = [pytest.mark.netns, pytest.mark.timeout(300)]

_ROUNDS = 5
_PROBES = 150


@pytest.mark.parametrize("seed", [1, 2, None], ids=["1", "2", "fresh"])
def test_packets_fare_as_documented(seed, dataplane, tmp_path):
    seed = secrets.randbelow(1 << 32) if seed is None else seed
    print(f"seed {seed}")
    action = ("DROP", "ACCEPT", "RETURN")[seed % 3]
    sent, expected = run(tmp_path, dataplane, seed, _ROUNDS, _PROBES, action)
    # The dice must not make a world in which a dead network looks right.
    assert sent == _ROUNDS * _PROBES
    assert 0.1 * sent < expected < 0.9 * sent


def test_without_policy_every_probe_arrives(dataplane, tmp_path):
    """The tester tested: with allowing profiles alone nothing is lost."""
    world = World(0)
    with netns.private():
        lab = PacketLab(tmp_path, dataplane, "ACCEPT")
        try:
            lab.start(world.standing())
            resources = [*world.profiles(), *world.workloads()]
            for resource in resources:
                if resource["kind"] == "Profile" and resource["metadata"]["name"].startswith("kns."):
                    resource["spec"].update(ingress=[{"action": "Allow"}], egress=[{"action": "Allow"}])
                elif resource["kind"] == "WorkloadEndpoint":
                    resource["spec"]["profiles"] = resource["spec"]["profiles"][-2:]
            lab.apply(resources)
            wrong, expected = lab.disagreements(list(world.probes(400)))
            assert not wrong, tell(lab, 0, 0, wrong)
            assert expected == 400
            started = time.monotonic()
            assert all(lab.underlay.probe(list(world.probes(400))))
            assert time.monotonic() - started < 5
            # And what must not arrive does not.
            lab.felix.run("nft add chain inet probe stop '{ type filter hook forward priority -300; }'")
            lab.felix.run(f"nft add rule inet probe stop iifname {PODS[0].interface} drop")
            blocked = [probe for probe in world.probes(600) if probe[0] == PODS[0].name and probe[1] != HOST]
            assert len(blocked) > 20
            assert not any(lab.underlay.probe(blocked))
        finally:
            lab.close()
