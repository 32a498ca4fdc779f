"""IPIP changed live, in a kernel that has it: Debian's User-Mode Linux, as the lab uses."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.timeout(1800)
def test_pools_change_between_ipip_vxlan_and_none():
    inside = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-s",
        "-p",
        "no:cacheprovider",
        ROOT / "soak/uml_encapsulation.py",
    ]
    command = [sys.executable, "-m", "pycalico", "lab", "uml", "--", "env", "-C", ROOT, *inside]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1700, cwd=ROOT)
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed" in done.stdout
