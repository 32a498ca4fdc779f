"""The end of the lab: the machine as it was."""

import time

import pytest
from running_lab import machine, pycalico

pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]


def test_down_leaves_the_machine_as_it_was(running):
    done = pycalico("lab", "down", "--name", running.name)
    assert done.returncode == 0, done.stderr
    # A command that still ran in the lab ends by itself, once it notices.
    deadline = time.monotonic() + 3
    while machine(running.name) != running.before and time.monotonic() < deadline:
        time.sleep(0.1)
    assert machine(running.name) == running.before
    again = pycalico("lab", "down", "--name", running.name)
    assert again.returncode == 0
    assert "was not up" in again.stdout


def test_a_node_of_no_lab_is_one_line(running):
    done = pycalico("lab", "exec", "--name", "t-none", "k8s-m", "--", "true")
    assert done.returncode == 1
    assert len(done.stderr.strip().splitlines()) == 1
    assert "make lab" in done.stderr
