"""Every recorded call of calicoctl that means something with Kubernetes behind it, against the API server.

Here a part of them; `make soak` replays all.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import ctl_kubernetes
import pytest
from api_process import api_process

DATA = Path(__file__).parents[1] / "golden" / "data"
GROUPS = {path.stem: json.loads(path.read_text()) for path in sorted((DATA / "calicoctl").glob("*.json"))}
EXPECTED = json.loads((DATA / "calicoctl-kubernetes.json").read_text())
DIFFERENCES = json.loads((DATA / "calicoctl-kubernetes-differences.json").read_text())
MODES = {"sorted-words": str.split, "sorted-lines": str.splitlines}
PROGRAM = str(Path(sys.executable).with_name("calicoctl"))
#: What this run replays: those that differ from upstream, and every so many-th of the others.
STEP = 6


def _cases():
    for group in GROUPS.values():
        for case in group["cases"]:
            if ctl_kubernetes.applies(group, case):
                yield group, case


def cases(step):
    chosen = [
        (group, case)
        for number, (group, case) in enumerate(_cases())
        if number % step == 0 or case["id"] in DIFFERENCES
    ]
    return [pytest.param(group, case, id=case["id"]) for group, case in chosen]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """An API server of this module's own, and its kubeconfig: lists show all that is there."""
    with api_process(tmp_path_factory.mktemp("replayed")) as process:
        process.define()
        client = process.client()
        found = ctl_kubernetes.Cluster(client)
        found.prepare()
        yield found, process.kubeconfig
        client.close()


def _shaped(outcome, modes):
    """Texts in the form in which they are compared."""
    outcome = dict(outcome)
    for stream, mode in modes.items():
        if stream in outcome:
            outcome[stream] = (
                outcome[stream].split("\n", 1)[0]
                if mode == "firstline"
                else sorted(_words(mode, outcome[stream]))
            )
    return outcome


def _words(mode, text):
    return MODES[mode](text.replace(",", " ") if mode == "sorted-words" else text)


def check(group, case, cluster, folder):
    there, kubeconfig = cluster
    environ = ctl_kubernetes.quiet(os.environ, kubeconfig, folder)
    found = ctl_kubernetes.replay(PROGRAM, group, case, there, environ, folder)
    expected = EXPECTED[case["id"]] | DIFFERENCES.get(case["id"], {}).get("expect", {})
    modes = case.get("compare", {})
    assert _shaped(found, modes) == _shaped(expected, modes)


@pytest.mark.parametrize(("group", "case"), cases(STEP))
def test_call(group, case, cluster, tmp_path):
    check(group, case, cluster, tmp_path)


def test_every_case_that_applies_is_recorded():
    assert {case["id"] for _, case in _cases()} == set(EXPECTED)
    assert len(EXPECTED) > 700


def test_every_difference_is_one():
    for name, entry in DIFFERENCES.items():
        assert entry["reason"]
        assert any(EXPECTED[name].get(field) != value for field, value in entry["expect"].items())


def test_deleting_a_node_is_refused_and_leaves_its_pods_alone(core_objects, api_server, tmp_path):
    pod = {
        "metadata": {"name": "web", "annotations": {"cni.projectcalico.org/podIP": "10.1.5.3/32"}},
        "spec": {"nodeName": "n1", "containers": [{"name": "c", "image": "x"}]},
    }
    core_objects("v1", "nodes", "", {"metadata": {"name": "n1"}})
    core_objects("v1", "pods", "default", pod)
    env = {**os.environ, "DATASTORE_TYPE": "kubernetes", "KUBECONFIG": str(api_server)}

    def ctl(*argv):
        return subprocess.run([PROGRAM, *argv], env=env, capture_output=True, text=True, timeout=60)

    before = ctl("get", "wep", "-o", "yaml").stdout
    assert "10.1.5.3/32" in before
    refused = ctl("delete", "node", "n1")
    assert refused.returncode == 1
    assert refused.stderr == (
        "Failed to delete 'Node' resource: operation Delete is not supported on Node(n1)\n\n"
    )
    assert ctl("get", "wep", "-o", "yaml").stdout == before
