"""Recorded calls of calicoctl that do not depend on etcd, against the API server.

Kept are those whose objects are CRDs and whose output holds no revision, UID or time; a missing object is told
with the API server's reason there.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from pycalico.api.kinds import KINDS
from pycalico.datastore.kubernetes.rest import path_of

CASES = Path(__file__).parents[1] / "golden" / "data" / "calicoctl"
GROUPS = ("aliases", "kinds", "namespaces", "output", "patch_label", "validation", "write")
PROGRAM = str(Path(sys.executable).with_name("calicoctl"))
NAMESPACES = ("dev", "prod", "qa")
_OF_RUN = re.compile(r"<REV|<TIME|<UID|creationTimestamp")
_DERIVED = re.compile(
    r'kind: (Node|Profile|WorkloadEndpoint)\b|"kind": "(Node|Profile|Workload)|projectcalico-default-allow'
    r"| (node|no|nos|nodes|profiles?|pros?|weps?|workloadendpoints?)\b"
)
_KEY = re.compile(r"/calico/resources/v3/projectcalico.org/\w+/.+")
_REASON = re.compile(r'with error: \S+ "[^"]*" not found')


def _objects(group, case):
    """The seeded objects, or None when one is no CRD."""
    pairs = [pair for seed in case.get("seed", []) for pair in group["seeds"][seed]] + case.get("etcd", [])
    found = []
    for key, value in pairs:
        kind = KINDS.get(value.get("kind", "")) if isinstance(value, dict) else None
        if not _KEY.fullmatch(key) or kind is None or not kind.crd:
            return None
        found.append((kind.name, value))
    return found


def _cases():
    for name in GROUPS:
        group = json.loads((CASES / f"{name}.json").read_text())
        for case in group["cases"]:
            expected = case["expect"]
            given = f"{case.get('stdin')} {json.dumps(case.get('files'))} {' '.join(case['argv'])}"
            apart = case.get("defect") or case.get("env") or "{{" in given or _DERIVED.search(given)
            objects = _objects(group, case)
            if (
                not apart
                and objects is not None
                and not _OF_RUN.search(expected["stdout"] + expected["stderr"])
            ):
                yield pytest.param(case, objects, id=case["id"])


@pytest.fixture(scope="session")
def namespaces(api_server, definitions):
    from pycalico.datastore.open import open_client

    client = open_client(
        environ={**os.environ, "DATASTORE_TYPE": "kubernetes", "KUBECONFIG": str(api_server)}
    )
    for name in NAMESPACES:
        client.rest.create(path_of("v1", "namespaces"), {"metadata": {"name": name}}, dict)
    yield
    for name in NAMESPACES:
        client.rest.delete(path_of("v1", "namespaces", name=name))
    client.close()


@pytest.fixture
def empty(kubernetes, namespaces):
    yield
    for kind in KINDS.values():
        if kind.crd:
            for item in kubernetes.list(kind.type).items:
                kubernetes.delete(kind.type, item.metadata.name, item.metadata.namespace)


def _sorted_words(text):
    return sorted(re.findall(r"[^\s,]+", text))


@pytest.mark.parametrize(("case", "objects"), list(_cases()))
def test_call(case, objects, kubernetes, api_server, empty, tmp_path):
    for kind, value in objects:
        kubernetes.create(msgspec.convert(value, KINDS[kind].type))
    for name, text in (case.get("files") or {}).items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if text is None:
            path.mkdir(exist_ok=True)
        else:
            path.write_text(text)
    env = {**os.environ, "DATASTORE_TYPE": "kubernetes", "KUBECONFIG": str(api_server)}
    done = subprocess.run(
        [PROGRAM, *case["argv"]], input=case.get("stdin") or "", env=env, cwd=tmp_path,
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    expected, modes = case["expect"], case.get("compare", {})
    assert done.returncode == expected["rc"], done.stderr
    for stream, found in (("stdout", done.stdout), ("stderr", _REASON.sub("with error: <nil>", done.stderr))):
        shape = _sorted_words if modes.get(stream) == "sorted-words" else str
        assert shape(found) == shape(expected[stream])


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


def test_most_of_the_cases_apply():
    """Should the recordings change their form, this says so instead of running nothing."""
    assert len(list(_cases())) > 190
