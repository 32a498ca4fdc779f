"""Property tests take the same examples each time, so that a failure is a change's; ``make soak`` draws new ones."""

import os
import subprocess
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("steady", derandomize=True)
settings.register_profile("fresh", derandomize=False)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "steady"))

_ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def neighbours():
    """The folder of BIRD 2 and FRR, fetched once for this checkout where the machine's package sources can be reached."""
    done = subprocess.run([_ROOT / "tools/neighbours.sh"], capture_output=True, text=True, timeout=240)
    if done.returncode:
        pytest.skip(f"no BIRD 2 and FRR to talk to: {done.stderr.strip()}")
    return _ROOT / ".neighbours"
