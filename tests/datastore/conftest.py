import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from etcd_process import EtcdProcess

from pycalico.datastore.kubernetes.crds import crds
from pycalico.datastore.kubernetes.rest import path_of
from pycalico.datastore.open import open_client


@pytest.fixture(scope="session")
def api_server(tmp_path_factory):
    """A real API server with the CRDs; yields its kubeconfig's path."""
    folder = tmp_path_factory.mktemp("api")
    kubeconfig = folder / "kubeconfig"
    command = [
        Path(sys.executable).with_name("pycalico"),
        "apiserver",
        "--data",
        folder / "data",
        "--port",
        "0",
    ]
    process = subprocess.Popen([*map(str, command), "--kubeconfig", str(kubeconfig)])
    deadline = time.monotonic() + 15
    while not kubeconfig.exists():
        assert process.poll() is None, "the API server ended"
        assert time.monotonic() < deadline, "the API server did not start"
        time.sleep(0.02)
    yield kubeconfig
    process.terminate()
    assert process.wait(10) == 0


@pytest.fixture(scope="session")
def definitions(api_server):
    """Applies the CRDs."""
    client = open_client(
        environ={**os.environ, "DATASTORE_TYPE": "kubernetes", "KUBECONFIG": str(api_server)}
    )
    for crd in crds():
        client.rest.create(path_of("apiextensions.k8s.io/v1", "customresourcedefinitions"), crd, dict)
    client.close()


@pytest.fixture
def kubernetes(api_server, definitions):
    client = open_client(
        environ={**os.environ, "DATASTORE_TYPE": "kubernetes", "KUBECONFIG": str(api_server)}
    )
    yield client
    client.close()


@pytest.fixture
def core_objects(kubernetes):
    """Creates core objects and removes them afterwards."""
    made = []

    def create(api, plural, namespace, body):
        kubernetes.rest.create(path_of(api, plural, namespace), body, dict)
        made.append(path_of(api, plural, namespace, body["metadata"]["name"]))

    yield create
    for path in reversed(made):
        kubernetes.rest.delete(path, grace_s=0)


@pytest.fixture(scope="session")
def etcd(tmp_path_factory):
    """A real etcd, shared by the tests of this folder: leave nothing in it."""
    process = EtcdProcess(tmp_path_factory.mktemp("etcd")).wait()
    yield process
    process.close()
