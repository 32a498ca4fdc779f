"""The Python API against both real datastores; the scripts of docs/python.md as they stand."""

import os
import re
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import pycalico
from pycalico import (
    AlreadyExists,
    Client,
    Conflict,
    DatastoreConfig,
    GlobalNetworkPolicy,
    GlobalNetworkPolicySpec,
    Invalid,
    IPPool,
    IPPoolSpec,
    ManifestError,
    NetworkPolicy,
    Node,
    NotFound,
    ObjectMeta,
    WorkloadEndpoint,
    WorkloadEndpointSpec,
)

PAGE = Path(__file__).parents[2] / "docs" / "python.md"
SCRIPTS = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
MANIFEST = """
apiVersion: projectcalico.org/v3
kind: GlobalNetworkPolicy
metadata: {name: first}
spec: {selector: all(), types: [Ingress]}
---
apiVersion: projectcalico.org/v3
kind: NetworkPolicy
metadata: {name: second, namespace: default}
spec: {selector: all()}
"""


@pytest.fixture(params=["etcd", "kubernetes"])
def environ(request):
    base = {
        name: value for name, value in os.environ.items() if not name.startswith(("ETCD", "KUBE", "CALICO"))
    }
    if request.param == "etcd":
        etcd = request.getfixturevalue("etcd")
        return base | {"DATASTORE_TYPE": "etcdv3", "ETCD_ENDPOINTS": etcd.url}
    kubeconfig = request.getfixturevalue("api_server")
    request.getfixturevalue("definitions")
    return base | {"DATASTORE_TYPE": "kubernetes", "KUBECONFIG": str(kubeconfig)}


@pytest.fixture
def calico(environ):
    with Client(environ=environ) as client:
        yield client
        for kind in (GlobalNetworkPolicy, NetworkPolicy, IPPool):
            for item in client.list(kind):
                client.delete(kind, item.metadata.name, item.metadata.namespace)


@pytest.fixture
def endpoint(request, environ):
    """One endpoint, web of default on n1 with 10.1.5.3, as its datastore has it."""
    if environ["DATASTORE_TYPE"] == "kubernetes":
        pod = {
            "metadata": {"name": "web", "annotations": {"cni.projectcalico.org/podIP": "10.1.5.3/32"}},
            "spec": {"nodeName": "n1", "containers": [{"name": "c", "image": "x"}]},
        }
        request.getfixturevalue("core_objects")("v1", "pods", "default", pod)
        yield
        return
    spec = WorkloadEndpointSpec(
        orchestrator="k8s", node="n1", pod="web", endpoint="eth0", ip_networks=["10.1.5.3/32"],
        interface_name="cali1", profiles=["kns.default"],
    )  # fmt: skip
    with Client(environ=environ) as client:
        made = client.create(WorkloadEndpoint(metadata=ObjectMeta(name="n1-k8s-web-eth0"), spec=spec))
        yield
        client.delete(WorkloadEndpoint, made.metadata.name)


def run(script, environ, folder, **options):
    return subprocess.run(
        [sys.executable, "-c", script], env=environ, cwd=folder, capture_output=True, text=True, timeout=60, check=True, **options
    ).stdout  # fmt: skip


def test_the_page_lists_endpoints(environ, endpoint, tmp_path):
    assert run(SCRIPTS[0], environ, tmp_path) == "default web n1 10.1.5.3/32\n"
    assert len(SCRIPTS[0].splitlines()) <= 10


def test_the_page_applies_a_policy(environ, calico, tmp_path):
    assert re.fullmatch(r"stored at revision \d+\n", run(SCRIPTS[1], environ, tmp_path))
    assert calico.get(NetworkPolicy, "web").spec.ingress[0].destination.ports == [80, "8000:8080"]
    assert len(SCRIPTS[1].splitlines()) <= 10


def test_the_page_applies_a_manifest(environ, calico, tmp_path):
    (tmp_path / "policy.yaml").write_text(MANIFEST)
    assert run(SCRIPTS[2], environ, tmp_path) == (
        "applied GlobalNetworkPolicy(first)\napplied NetworkPolicy(default/second)\n"
    )


def test_the_page_follows_changes(environ, calico, tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-u", "-c", SCRIPTS[3]], env=environ, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout.readline() == "0 policies\n"
        calico.apply_manifest(MANIFEST)
        assert process.stdout.readline() == "ADDED NetworkPolicy(default/second)\n"
        calico.delete(NetworkPolicy, "second")
        assert process.stdout.readline() == "DELETED NetworkPolicy(default/second)\n"
    finally:
        process.kill()
        process.wait()


def policy(order):
    spec = GlobalNetworkPolicySpec(selector="all()", order=order, types=["Ingress"])
    return GlobalNetworkPolicy(metadata=ObjectMeta(name="p"), spec=spec)


def test_create_update_apply_delete(calico):
    made = calico.create(policy(1))
    assert made.metadata.uid
    with pytest.raises(AlreadyExists):
        calico.create(policy(1))
    made.spec.order = 2
    calico.update(made)
    with pytest.raises(Conflict):
        calico.update(made)
    applied = calico.apply(policy(3))
    assert (applied.spec.order, applied.metadata.uid) == (3, made.metadata.uid)
    stale = policy(4)
    stale.metadata.resource_version = made.metadata.resource_version
    with pytest.raises(Conflict):
        calico.apply(stale)
    assert [item.spec.order for item in calico.list(GlobalNetworkPolicy)] == [3]
    calico.delete(GlobalNetworkPolicy, "p")
    with pytest.raises(NotFound):
        calico.get(GlobalNetworkPolicy, "p")


def test_a_caller_s_object_stays_as_it_was(calico):
    pool = IPPool(metadata=ObjectMeta(name="pool"), spec=IPPoolSpec(cidr="10.9.0.0/16"))
    assert calico.apply(pool).spec.block_size == 26
    assert pool == IPPool(metadata=ObjectMeta(name="pool"), spec=IPPoolSpec(cidr="10.9.0.0/16"))


def test_validation_is_calicoctl_s(calico):
    with pytest.raises(Invalid, match=r"error with field .*CIDR.*10\.9\.0\.0/40"):
        calico.create(IPPool(metadata=ObjectMeta(name="pool"), spec=IPPoolSpec(cidr="10.9.0.0/40")))


def test_nothing_of_a_manifest_is_written_when_a_document_cannot_be_read(calico):
    with pytest.raises(ManifestError, match="not recognized"):
        calico.apply_manifest(MANIFEST.replace("spec: {selector: all()}", "spec: {selektor: all()}"))
    assert len(calico.list(GlobalNetworkPolicy)) == 0


def test_a_watch_ends_when_it_is_closed(calico):
    watch = calico.watch(GlobalNetworkPolicy)
    seen = []
    thread = threading.Thread(target=lambda: seen.extend(watch))
    thread.start()
    calico.create(policy(1))
    deadline = time.monotonic() + 10
    while not seen:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    watch.close()
    thread.join(10)
    assert not thread.is_alive()
    assert [event.object.metadata.name for event in seen] == ["p"]


def test_arguments_win_over_the_environment(environ, tmp_path):
    wrong = {"ETCD_ENDPOINTS": "http://127.0.0.1:1", "KUBECONFIG": "/nowhere"}
    if environ["DATASTORE_TYPE"] == "etcdv3":
        given = {"etcd_endpoints": environ["ETCD_ENDPOINTS"]}
        spec = f"datastoreType: etcdv3, etcdEndpoints: '{environ['ETCD_ENDPOINTS']}'"
    else:
        given = {"kubeconfig": environ["KUBECONFIG"]}
        spec = f"datastoreType: kubernetes, kubeconfig: '{environ['KUBECONFIG']}'"
    file = tmp_path / "calicoctl.cfg"
    file.write_text(f"apiVersion: projectcalico.org/v3\nkind: CalicoAPIConfig\nspec: {{{spec}}}\n")
    config = DatastoreConfig(datastore_type=environ["DATASTORE_TYPE"], **{"etcd_endpoints": "", **given})
    for client in (
        Client(environ=wrong, **given),
        Client(environ=wrong, file=str(file)),
        Client(config, environ=wrong),
    ):
        with client:
            client.list(Node)


def test_every_name_is_there_and_typed():
    stub = Path(pycalico.__file__).with_suffix(".pyi").read_text()
    for name in pycalico.__all__:
        assert getattr(pycalico, name) is not None
        assert re.search(rf"\b{name} as {name}\b|^{name}: str$", stub, re.MULTILINE), name
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        pycalico.Nothing
