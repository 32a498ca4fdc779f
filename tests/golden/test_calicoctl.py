"""Every recorded call of calicoctl v3.28.1, replayed with ours against a real etcd.

``data/calicoctl`` holds the recordings; ``data/calicoctl-differences.json`` what we do otherwise on purpose (with
what we print instead) or do not do yet (without; such a case has to fail, or its entry goes).
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import ctl_sandbox
import pytest
from ctl_expect import Recording, difference, parsed

DATA = Path(__file__).with_name("data")
GROUPS = {path.stem: json.loads(path.read_text()) for path in sorted((DATA / "calicoctl").glob("*.json"))}
DIFFERENCES = json.loads((DATA / "calicoctl-differences.json").read_text())
PROGRAM = str(Path(sys.executable).with_name("calicoctl"))
_FOREIGN = re.compile(r"(CALICO_|ETCD_|KUBE|K8S_|DATASTORE)")


def _cases():
    for name, group in GROUPS.items():
        for case in group["cases"]:
            known = DIFFERENCES.get(case["id"])
            marks = [pytest.mark.netns] if case.get("sandbox") else []
            if known and "expect" not in known:
                marks.append(pytest.mark.xfail(strict=True, reason=known["reason"]))
            yield pytest.param(name, case, id=case["id"], marks=marks)


def _expected(case):
    return {**case["expect"], **DIFFERENCES.get(case["id"], {}).get("expect", {})}


def _run(case, argv, stdin, env, folder):
    if not case.get("sandbox"):
        done = subprocess.run(
            argv, input=stdin, env=env, cwd=folder, capture_output=True, text=True, timeout=60
        )
        return {"rc": done.returncode, "stdout": done.stdout, "stderr": done.stderr}
    wanted = {"processes": [], "sockets": {}, **case["sandbox"], "argv": argv, "env": env}
    done = subprocess.run(
        ["unshare", "-m", "-p", "-f", "--mount-proc", sys.executable, ctl_sandbox.__file__],
        input=json.dumps(wanted), capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    return json.loads(done.stdout)


@pytest.mark.parametrize(("group", "case"), list(_cases()))
def test_call(group, case, store, tmp_path):
    base = store.clear()
    pairs = [pair for seed in case.get("seed", []) for pair in GROUPS[group]["seeds"][seed]]
    for key, value in pairs + case.get("etcd", []):
        store.put(key, value if isinstance(value, str) else json.dumps(value, separators=(",", ":")))
    before = store.contents()

    def filled(text):
        text = text.replace("{{ETCD}}", store.url)
        return re.sub(r"\{\{REV\+(\d+)\}\}", lambda match: str(base + int(match[1])), text)

    for name, text in (case.get("files") or {}).items():
        path = tmp_path / name
        if text is None:
            path.mkdir(parents=True, exist_ok=True)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(filled(text))
    env = {name: value for name, value in os.environ.items() if not _FOREIGN.match(name)}
    env |= {"DATASTORE_TYPE": "etcdv3", "ETCD_ENDPOINTS": store.url, "HOME": str(tmp_path)}
    for name, value in (case.get("env") or {}).items():
        if value is None:
            env.pop(name, None)
        else:
            env[name] = filled(value)
    argv = [PROGRAM, *map(filled, case["argv"])]
    found = _run(case, argv, filled(case.get("stdin") or ""), env, tmp_path)

    expected = _expected(case)
    recording = Recording(
        base, {"http://<ETCD>": store.url, "<ETCD>": f"127.0.0.1:{store.port}", "<CWD>": str(tmp_path)}
    )
    modes = case.get("compare", {})
    assert found["rc"] == expected["rc"], found["stderr"]
    for stream in ("stdout", "stderr"):
        same = recording.same_text(expected[stream], found[stream], modes.get(stream, "exact"))
        assert same, f"{stream}\n--- recorded\n{recording.text(expected[stream])}\n--- found\n{found[stream]}"
    changed = difference(before, store.contents())
    assert recording.same_value(expected.get("etcd", {}), changed), (expected.get("etcd"), changed)
    for name in case.get("keep", []):
        path = tmp_path / name
        written = parsed(path.read_text()) if path.exists() else None
        assert recording.same_value(expected["files"][name], written), (expected["files"][name], written)


def test_every_difference_is_one():
    """An entry names a recorded case, says why, and does differ."""
    cases = {case["id"]: case for group in GROUPS.values() for case in group["cases"]}
    for name, entry in DIFFERENCES.items():
        assert entry["reason"]
        assert any(
            cases[name]["expect"].get(key) != value for key, value in entry.get("expect", {"": ""}).items()
        )
