"""The whole NetworkPolicy matrix, every case from every pod to every other, on both IP versions."""

import netpol_cases
import pytest
from dataplanes import CHOSEN, DATAPLANES
from netpol_lab import NetpolLab

from pycalico.kernel import netns


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", CHOSEN)
def test_the_whole_matrix(name, tmp_path):
    with netns.private():
        lab = NetpolLab(tmp_path, DATAPLANES[name])
        try:
            lab.start()
            found = [lab.run(case) for case in netpol_cases.CASES]
        finally:
            lab.close()
    wrong = [each for _, every in found for each in every]
    print(f"{len(found)} cases, {sum(sent for sent, _ in found)} probes, {len(wrong)} disagree")
    assert not wrong, wrong[:20]
