"""Kubernetes NetworkPolicy through the Kubernetes datastore, conversion, calculation and kernel: by truth table."""

import random
import secrets

import kubernetes_cases
import netpol_cases
import pytest
from dataplanes import DATAPLANES
from netpol_lab import NetpolLab

from pycalico.kernel import netns

pytestmark = [pytest.mark.netns, pytest.mark.timeout(200)]

#: Every so many-th case in each run, and a few by chance; `make soak` runs all.
_EVERY = 24
_BY_CHANCE = 6


def test_there_are_as_many_cases_as_cyclonus_has():
    assert len(netpol_cases.CASES) - len(kubernetes_cases.CASES) >= 230
    assert len(kubernetes_cases.CASES) == 48


def test_a_slice_of_the_matrix(dataplane, tmp_path):
    seed = secrets.randbelow(1 << 32)
    print(f"seed {seed}")
    dice = random.Random(seed)
    names = list(netpol_cases.CASES)
    chosen = dict.fromkeys([*names[::_EVERY], *dice.sample(names, _BY_CHANCE)])
    with netns.private():
        lab = NetpolLab(tmp_path, dataplane)
        try:
            lab.start()
            found = [lab.run(case, lambda probes: dice.sample(probes, len(probes) // 3)) for case in chosen]
            wrong = [each for _, each in found if each]
            assert not wrong, f"seed {seed}: {wrong}\n{lab.felix.log()[-2000:]}"
        finally:
            lab.close()


def test_some_of_kubernetes_own_cases(tmp_path):
    """A tenth of the probes; all 48 with all of them, on every dataplane, in `make soak`."""
    seed = secrets.randbelow(1 << 32)
    dice = random.Random(seed)
    with netns.private():
        lab = NetpolLab(tmp_path, DATAPLANES["iptables-legacy"])
        try:
            lab.start()
            for case in dice.sample(list(kubernetes_cases.CASES), 8):
                sent, wrong = lab.run(case, lambda probes: dice.sample(probes, len(probes) // 10))
                assert sent >= 60, case
                assert not wrong, f"seed {seed}: {wrong}\n{lab.felix.log()[-2000:]}"
        finally:
            lab.close()
