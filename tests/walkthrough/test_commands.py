"""Every command of the walkthrough, in its order, with what its output must be."""

import pytest

from pycalico.lab.chapters import walkthrough

pytestmark = [pytest.mark.system, pytest.mark.timeout(1200)]


def test_summary_tells_nodes_sessions_and_pods(running):
    for node in ("k8s-m", "k8s-w0", "k8s-w1", "k8s-w2"):
        assert f"{node} " in running.summary
    assert running.summary.count("Established") == 12
    assert "coredns-" in running.summary
    assert "pycalico lab exec" in running.summary
    assert ("no ipip" in running.summary) == (not running.walk.ipip)


def test_kernel_has_the_encapsulation_it_is_there_for(running):
    if running.kernel == "uml":
        assert running.walk.ipip


@pytest.mark.parametrize("step", walkthrough(), ids=lambda step: step.name.replace(" ", "-"))
def test_command(running, step):
    outcome = running.walk.run(step)
    assert not outcome.problems, f"{outcome.command}\n{outcome.output}\n{outcome.problems}"
