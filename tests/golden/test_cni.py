"""The CNI plugins against recordings of v3.28.1: results, kernel state and IPAM records of 89 cases.

With the node's agent, without it, and with the plugins that an image puts on a host without Python, both ways.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
NAMES = [case["name"] for case in json.loads((HERE / "data/cni/cases.json").read_text())]

pytestmark = pytest.mark.netns


@pytest.fixture(scope="module", params=["agent", "alone", "bare", "bare agent"])
def outcomes(request, tmp_path_factory):
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
        *request.param.split(),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    return {outcome["name"]: outcome["problems"] for outcome in map(json.loads, done.stdout.splitlines())}


@pytest.mark.parametrize("name", NAMES)
def test_recorded_calls(outcomes, name):
    assert not outcomes[name], "\n".join(outcomes[name])
