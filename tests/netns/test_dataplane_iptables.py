"""iptables' programs that fail, are cut off, hang, or have to wait for their lock."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
import dataplane_rig as rig

from pycalico.dataplane.config import DataplaneConfig
from pycalico.dataplane.drivers import backend
from pycalico.dataplane.drivers.chains import own_chain
from pycalico.dataplane.drivers.iptables import Options, Table
from pycalico.dataplane.drivers.xtables_lock import XtablesLock
from pycalico.dataplane.engine import DataplaneError
from pycalico.dataplane.rules import action
from pycalico.dataplane.rules.chain import Chain
from pycalico.reconcile.target import TargetError

pytestmark = pytest.mark.netns


@pytest.fixture(autouse=True)
def _namespace():
    with rig.namespace():
        rig.host()
        yield


def _shim(folder, monkeypatch, program, text):
    """A program of that name before the real one (REAL) in PATH; each run is a line in the file returned."""
    counter = folder / "count"
    real = rig.sh(f"command -v {program}").strip()
    shim = folder / program
    counting = f"flock {folder} sh -c 'echo x >> {counter}'\n"
    shim.write_text("#!/bin/sh\n" + counting + text.replace("REAL", real).replace("COUNT", str(counter)))
    shim.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{rig.sh('echo $PATH').strip()}")
    return counter


def _filter_table(**options):
    return Table("filter", backend.programs(4, "legacy"), Options(**options))


_ONE_CHAIN = {"cali-x": own_chain(Chain("cali-x", (action.DROP,)))}


@pytest.mark.parametrize(("failures", "code"), [(1, 1), (9, 4), (10, 1), (99, 1)])
def test_a_restore_that_fails_is_tried_ten_times(failures, code, tmp_path, monkeypatch):
    text = f'[ $(wc -l < COUNT) -gt {failures} ] || {{ echo "no room" >&2; exit {code}; }}\nexec REAL "$@"\n'
    counter = _shim(tmp_path, monkeypatch, "iptables-legacy-restore", text)
    table = _filter_table()
    table.read()
    if failures < 10:
        table.apply(_ONE_CHAIN, set())
        assert rig.chain("filter", "cali-x")
        assert len(counter.read_text().split()) == failures + 1
        return
    with pytest.raises(TargetError, match=r"refused table filter: no room"):
        table.apply(_ONE_CHAIN, set())
    assert len(counter.read_text().split()) == 10
    assert not rig.rules("filter")


@pytest.mark.parametrize("way", ["exit 3", 'REAL "$@" | head -3; exit 0', "exec sleep 30"])
def test_a_dump_that_fails_is_tried_three_times(way, tmp_path, monkeypatch):
    """It fails, is cut off, or hangs."""
    rig.sh("iptables-legacy -N cali-old; iptables-legacy -A cali-old -j DROP")
    good_third = f'[ $(wc -l < COUNT) = 3 ] && exec REAL "$@"\n{way}\n'
    counter = _shim(tmp_path, monkeypatch, "iptables-legacy-save", good_third)
    table = _filter_table(save_timeout_s=0.3)
    assert "cali-old" in table.read()
    assert len(counter.read_text().split()) == 3
    with pytest.raises(TargetError):
        table.read()
    assert len(counter.read_text().split()) == 6


def test_three_hanging_dumps_end_before_the_watchdog_does():
    assert 3 * Options().save_timeout_s < DataplaneConfig(hostname="x").watchdog_s


def test_a_restore_that_always_fails_ends_the_dataplane(tmp_path, monkeypatch):
    _shim(tmp_path, monkeypatch, "iptables-legacy-restore", 'echo "no room" >&2; exit 4\n')
    with pytest.raises(DataplaneError, match=r"refused table .*: no room"), rig.Rig() as felix:
        felix.start()
    assert not rig.rules("filter")


def test_a_held_lock_is_seen_and_its_holder_named(tmp_path, monkeypatch, caplog):
    path = tmp_path / "lock"
    monkeypatch.setenv("XTABLES_LOCKFILE", str(path))
    lock = XtablesLock(str(path), 3.0, 0.05)
    table = _filter_table(wait=("--wait", "10"), lock=lock)
    table.read()
    table.apply(_ONE_CHAIN, set())
    assert lock.waits.count == 1
    assert lock.waits.total < 0.05
    with subprocess.Popen(["flock", "-o", str(path), "sleep", "1.5"]) as holder:
        rig.until(path.exists, what="the lock")
        time.sleep(0.1)
        table.apply({"cali-y": own_chain(Chain("cali-y", (action.DROP,)))}, set())
        assert holder.wait(5) == 0
    assert 1.0 < lock.waits.total < 3.0
    assert 10 <= lock.retries <= 40
    assert [record for record in caplog.records if "held by flock" in record.getMessage()]
    # For ever: each of ten tries gives up after its time, and says who it was.
    impatient = XtablesLock(str(path), 0.05, 0.01)
    table = _filter_table(wait=("--wait", "10"), lock=impatient)
    table.read()
    with subprocess.Popen(["flock", "-o", str(path), "sleep", "30"]) as holder:
        time.sleep(0.2)
        with pytest.raises(TargetError, match=r"refused table filter: .*lock is held by flock \(\d+\)"):
            table.apply({"cali-z": own_chain(Chain("cali-z", (action.DROP,)))}, set())
        holder.terminate()
