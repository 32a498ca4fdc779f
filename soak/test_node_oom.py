"""The kernel's own out-of-memory kill of one service, by a control group that allows it next to nothing more."""

import contextlib
import os
import time
from pathlib import Path

import pytest
from test_node_reliability import (
    ADD,
    BACK_S,
    FELIX,
    LARGE,
    PREPARE,
    Cluster,
    both_up,
    pid_of,
    sessions,
    until,
)

GROUPS = Path("/sys/fs/cgroup")
CONFD = ("calico-node", "-confd")


@contextlib.contextmanager
def allowed(pid, size):
    """``pid`` in a group of its own; what it has already does not count."""
    old = (GROUPS / "memory/cgroup.procs").exists()
    group = (GROUPS / "memory" if old else GROUPS) / f"pycalico-{os.getpid()}"
    group.mkdir()
    try:
        (group / ("memory.limit_in_bytes" if old else "memory.max")).write_text(str(size))
        (group / "cgroup.procs").write_text(str(pid))
        yield
    finally:
        until(lambda: not (group / "cgroup.procs").read_text())
        group.rmdir()


@pytest.fixture
def cluster(tmp_path):
    made = Cluster(tmp_path)
    try:
        made.start_server()
        made.inside(PREPARE)
        yield made
    finally:
        made.close()


def test_confd_is_killed_and_back_and_routes_stay(cluster):
    w1, w2 = cluster.start("w1", 1, **FELIX), cluster.start("w2", 2)
    both_up(w1, w2)
    confd = pid_of(w1, CONFD)
    others = {pid: words for pid, words in w1.processes().items() if pid != confd}
    with allowed(confd, 1 << 20):
        cluster.inside(LARGE)
        until(lambda: pid_of(w1, CONFD) != confd)
        began = time.monotonic()
        until(lambda: pid_of(w1, CONFD) not in (None, confd))
        assert time.monotonic() - began < BACK_S
    assert sessions(w1) == {"Mesh_10_91_0_2": "Established"}
    cluster.inside(ADD, "3")
    until(lambda: "Mesh_10_91_0_3" in sessions(w1))
    left = w1.processes()
    gone = [words for pid, words in others.items() if pid not in left and words[0] != "birdc"]
    assert gone == []
    assert (cluster.folder / "w2.log").read_text().count("Mesh_10_91_0_1: Connected to table") == 1
