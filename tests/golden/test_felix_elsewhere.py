"""The recordings again, on the Kubernetes datastore and on iptables' nft variant: the same kernel state.

A sample of each; all of them in ``make soak``.
"""

import json
import os
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1] / "apiserver"))
import conversion
import felix_world
from felix_world import FelixWorld
from kubernetes_world import KubernetesWorld
from test_felix import SCENARIOS, await_state

from pycalico.kernel import netns

pytestmark = [pytest.mark.netns, pytest.mark.timeout(120)]

_READ = {path.stem: json.loads(path.read_text()) for path in SCENARIOS}
_ALL = os.environ.get("FELIX_ALL_RECORDINGS") == "1"
_ON_KUBERNETES = [name for name, scenario in _READ.items() if conversion.is_kubernetes(scenario)]
_ON_NFT = [name for name, scenario in _READ.items() if not conversion.uses_legacy_by_name(scenario)]
_SAMPLE = ("hep-apply-on-forward", "networksets", "np-named-ports", "np-icmp", "random-104")


def _sample(names):
    return names if _ALL else [name for name in names if name in _SAMPLE]


def _play(world, scenario, wanted):
    for command in scenario.get("before", []):
        world.run(command)
    for number, step in enumerate(scenario["steps"]):
        for raw in step.get("apply", []):
            world.apply(raw)
        for raw in step.get("delete", []):
            world.delete(raw)
        for key, value in step.get("etcd", []):
            world.put(key, value)
        for command in step.get("shell", []):
            world.run(command)
        world.supervise()
        try:
            await_state(world, wanted(step["expect"]), scenario.get("interfaces", []))
        except AssertionError as error:
            raise AssertionError(f"step {number}: {error}") from None


def test_most_recordings_can_be_told_to_kubernetes():
    assert len(_ON_KUBERNETES) >= 40
    assert set(_SAMPLE) <= set(_ON_KUBERNETES) & set(_ON_NFT)


@pytest.mark.parametrize("name", _sample(_ON_KUBERNETES))
def test_kubernetes(name, tmp_path):
    scenario = _READ[name]
    with netns.private():
        world = KubernetesWorld(tmp_path, scenario.get("env", {}))
        try:
            world.start_datastore()
            # Pods have no MAC in Kubernetes, so that no neighbour is entered for them.
            _play(world, scenario, lambda found: {**found, "neigh": _not_of_pods(found["neigh"])})
        finally:
            world.close()


def _not_of_pods(lines):
    return [line for line in lines if " dev cali" not in line]


@pytest.mark.parametrize("name", _sample(_ON_NFT))
def test_nft_variant(name, tmp_path, monkeypatch):
    monkeypatch.setattr(
        felix_world, "_LOOK", felix_world._LOOK.replace("tables-legacy-save", "tables-nft-save")
    )
    scenario = _READ[name]
    with netns.private():
        world = FelixWorld(tmp_path, {**scenario.get("env", {}), "FELIX_IPTABLESBACKEND": "nft"})
        try:
            world.start_etcd()
            _play(world, scenario, lambda found: found)
        finally:
            world.close()
