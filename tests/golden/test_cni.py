"""The CNI plugins against recordings of v3.28.1: results, kernel state and IPAM records of 49 cases."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
NAMES = [case["name"] for case in json.loads((HERE / "data/cni/cases.json").read_text())]

pytestmark = pytest.mark.netns


@pytest.fixture(scope="module", params=[["agent"], []], ids=["agent", "alone"])
def outcomes(tmp_path_factory, request):
    directory = tmp_path_factory.mktemp("cni")
    command = [
        "unshare",
        "-n",
        "-m",
        "--propagation",
        "private",
        sys.executable,
        HERE / "cni_replay.py",
        directory,
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr
    return {outcome["name"]: outcome["problems"] for outcome in map(json.loads, done.stdout.splitlines())}


@pytest.mark.parametrize("name", NAMES)
def test_recorded_calls(outcomes, name):
    assert not outcomes[name], "\n".join(outcomes[name])
