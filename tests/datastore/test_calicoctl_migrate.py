"""From a locked etcd to Kubernetes: export, import, and what is there afterwards."""

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pycalico.api.kinds import KINDS
from pycalico.datastore.kubernetes.rest import StatusError

CASES = Path(__file__).parents[1] / "golden" / "data" / "calicoctl" / "misc.json"
PROGRAM = str(Path(sys.executable).with_name("calicoctl"))


@pytest.fixture
def export(tmp_path):
    """The recorded export, with the revisions of some run filled in."""
    group = json.loads(CASES.read_text())
    case = next(case for case in group["cases"] if case["title"] and case["id"] == "misc-070")
    path = tmp_path / "export"
    path.write_text(case["expect"]["stdout"].replace("<REV+15>", "15").replace("<REV+11>", "11"))
    return path


@pytest.fixture
def ctl(api_server):
    env = {**os.environ, "DATASTORE_TYPE": "kubernetes", "KUBECONFIG": str(api_server)}

    def run(*argv, stdin=""):
        return subprocess.run(
            [PROGRAM, *argv], input=stdin, env=env, capture_output=True, text=True, timeout=60
        )

    return run


@pytest.fixture
def namespace(core_objects, kubernetes):
    # The session's server may have it from other tests already.
    with contextlib.suppress(StatusError):
        core_objects("v1", "namespaces", "", {"metadata": {"name": "prod"}})
    yield
    for kind in KINDS.values():
        if kind.crd:
            for item in kubernetes.list(kind.type).items:
                kubernetes.delete(kind.type, item.metadata.name, item.metadata.namespace)


def test_an_export_arrives_whole_and_only_once(export, ctl, namespace):
    done = ctl("datastore", "migrate", "import", "-f", str(export))
    assert done.returncode == 0, done.stderr
    assert (
        "Successfully applied 9 resource(s)\nImporting IPAM resources\nSuccessfully applied 4 IPAM resource(s)"
        in done.stdout
    )
    assert "Skipping that node" in done.stdout  # Kubernetes has no such node

    information = json.loads(ctl("get", "clusterinfo", "default", "-o", "json").stdout)["spec"]
    assert information["clusterGUID"] == "0123456789abcdef0123456789abcdef"
    assert information["calicoVersion"] == "v3.28.1"
    assert information["datastoreReady"] is False
    shown = ctl("get", "ippool", "v4-main", "-o", "custom-columns=NAME,CIDR,NAT").stdout
    assert shown.splitlines()[1].split() == ["v4-main", "172.20.0.0/16", "true"]
    assert "IP 172.20.8.0 is in use" in ctl("ipam", "show", "--ip=172.20.8.0").stdout
    check = ctl("ipam", "check").stdout
    assert "Found 0 handles with no matching IPs (and 1 handles with matches)." in check

    again = ctl("datastore", "migrate", "import", "-f", str(export))
    assert again.returncode == 1
    assert again.stderr.startswith(
        "Datastore already has Calico resources: Found existing Calico IPPool resource."
    )


def test_what_is_no_export_changes_nothing(ctl, namespace, kubernetes, tmp_path):
    for text in ("", "a\n===\nb\n", "apiVersion: v1\n===\n{}\n===\n{}\n", "---\n===\nno json\n===\n{}\n"):
        done = ctl("datastore", "migrate", "import", "-f", "-", stdin=text)
        assert done.returncode == 1
        assert done.stderr.startswith("Error while reading migration file: ")
    assert not kubernetes.list(KINDS["ClusterInformation"].type).items


def test_a_record_that_cannot_be_loaded_leaves_the_datastore_locked_and_says_how_to_go_on(
    export, ctl, namespace
):
    export.write_text(export.read_text().replace("cidr: 172.20.0.0/16", "cidr: 169.254.0.0/16"))
    done = ctl("datastore", "migrate", "import", "-f", str(export))
    assert done.returncode == 1
    assert "IPPool CIDR overlaps with IPv4 Link Local range" in done.stderr
    assert "The datastore stays locked. To start over, delete the CRDs" in done.stderr
    information = json.loads(ctl("get", "clusterinfo", "default", "-o", "json").stdout)["spec"]
    assert information["datastoreReady"] is False
