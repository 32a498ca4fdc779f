"""Upstream's programs work on what ours wrote, and the other way round, in both datastores.

Where ``UPSTREAM_BIN`` names a folder with them: calicoctl, calico, calico-ipam, calico-felix, kube-controllers.
"""

import os
import subprocess
import sys
from pathlib import Path

import interchange
import pytest
from stores import NAMES

UPSTREAM = os.environ.get("UPSTREAM_BIN", "")


@pytest.mark.netns
@pytest.mark.skipif(not UPSTREAM, reason="UPSTREAM_BIN names no folder with Calico v3.28.1")
@pytest.mark.parametrize("part", interchange.PARTS)
@pytest.mark.parametrize("datastore", NAMES)
def test_interchange(datastore, part, tmp_path):
    command = ["unshare", "-n", "-m", "--propagation", "private", sys.executable, interchange.__file__]
    done = subprocess.run(
        [*command, datastore, UPSTREAM, str(tmp_path), part], cwd=Path(interchange.__file__).parent,
        capture_output=True, text=True, timeout=280,
    )  # fmt: skip
    print(done.stdout)
    logs = "".join(
        f"\n--- {path.name}\n{path.read_text()[-3000:]}" for path in sorted(tmp_path.glob("*.log"))
    )
    assert done.returncode == 0, f"{done.stdout}{done.stderr[-3000:]}{logs}"
