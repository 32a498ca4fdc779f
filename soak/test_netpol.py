"""The whole NetworkPolicy matrix, every case from every pod to every other, on both IP versions."""

import kubernetes_cases
import netpol_cases
import pytest
from dataplanes import CHOSEN, DATAPLANES
from netpol_lab import NetpolLab

from pycalico.kernel import netns


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", CHOSEN)
@pytest.mark.parametrize("cases", ["kubernetes", "all"])
def test_the_whole_matrix(name, cases, tmp_path):
    """``kubernetes``: the 48 of its own suite, one by one."""
    chosen = kubernetes_cases.CASES if cases == "kubernetes" else netpol_cases.CASES
    with netns.private():
        lab = NetpolLab(tmp_path, DATAPLANES[name])
        try:
            lab.start()
            found = [lab.run(case) for case in chosen]
        finally:
            lab.close()
    for case, (sent, wrong) in zip(chosen, found, strict=True):
        print(f"{case}: {sent} probes, {len(wrong)} disagree")
    wrong = [each for _, every in found for each in every]
    print(f"{len(found)} cases, {sum(sent for sent, _ in found)} probes, {len(wrong)} disagree")
    assert not wrong, wrong[:20]
