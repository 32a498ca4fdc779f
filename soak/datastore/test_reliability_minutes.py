"""The scenarios of the datastore in their full length, and with the kernel's own timers."""

import random
import subprocess
import time
from pathlib import Path

import pytest
import test_reliability_connections as connections
import test_reliability_objects as objects
from etcd_process import EtcdProcess
from faults import Supervised, eventually, follow, run, store, wire
from stores import NAMES

__all__ = ["follow", "store", "wire"]
pytestmark = pytest.mark.timeout(1200)


def test_scenario_01_server_stopped_for_ten_minutes(store, follow):
    connections.check_server_stopped(store, follow, 600)


@pytest.mark.netns
def test_scenario_01_felix_says_not_ready_and_recovers(wire, tmp_path):
    etcd = EtcdProcess(tmp_path / "etcd", address=wire.server, enter=wire.enter_server).wait(
        wire.enter_client
    )
    environ = etcd.environ()
    run(*wire.enter_client, objects.PROGRAM, "create", "-f", "-", env=environ, input=objects.LOCKABLE)
    felix = Supervised(
        [*wire.enter_client, Path(objects.PROGRAM).with_name("calico-felix")], tmp_path / "felix.log",
        {**environ, "FELIX_FELIXHOSTNAME": "n1", "FELIX_DATASTORETYPE": "etcdv3", "FELIX_ETCDENDPOINTS": etcd.url,
         "FELIX_IPTABLESBACKEND": "legacy", "FELIX_IPV6SUPPORT": "false", "FELIX_HEALTHENABLED": "true"},
    )  # fmt: skip

    def is_ready():
        command = [*wire.enter_client, "curl", "-fso", "/dev/null", "http://localhost:9099/readiness"]
        return subprocess.run(command).returncode == 0

    try:
        eventually(is_ready, 30)
        rules = objects.programmed(wire)
        etcd.kill()
        began = time.monotonic()
        eventually(lambda: not is_ready(), 30)
        assert objects.programmed(wire) == rules
        print(f"not ready after {time.monotonic() - began:.1f} s")
        etcd.start()
        etcd.wait(wire.enter_client)
        eventually(is_ready, 5)
    finally:
        felix.close()
        etcd.close()


@pytest.mark.netns
@pytest.mark.parametrize("name", NAMES)
def test_scenario_02_black_hole_with_the_kernels_timers(name, wire, tmp_path):
    detected, again = connections.check_black_hole(name, wire, tmp_path, None, 30)
    print(f"{name}: found out after {detected:.1f} s, connected again {again:.1f} s after the hole closed")


def test_scenario_06_watch_cut_every_200_ms_for_five_minutes(store, follow, tmp_path):
    cuts, sockets, grown_kib = connections.check_watch_cut(store, follow, 0.2, 300, tmp_path)
    print(f"{cuts} cuts, {sockets} sockets, {grown_kib} KiB")
    assert sockets <= 2
    assert grown_kib < 1024 * 300 / 3600 + 64


def test_scenario_08_conflict_storm_of_2000(store):
    print(f"most refusals of one allocation: {objects.check_conflict_storm(store, 8, 250)}")


@pytest.mark.parametrize("seed", range(10))
def test_random_histories(store, follow, seed):
    objects.check_random_history(store, follow, 400, random.randrange(10**9) + seed)
