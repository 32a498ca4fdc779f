import pytest
from api_process import api_process
from etcd_process import EtcdProcess
from faults import follow, store, wire

from pycalico.datastore.kubernetes.rest import path_of

__all__ = ["follow", "store", "wire"]


@pytest.fixture(scope="session")
def _api(tmp_path_factory):
    with api_process(tmp_path_factory.mktemp("api")) as process:
        yield process


@pytest.fixture(scope="session")
def api_server(_api):
    """A real API server; its kubeconfig's path."""
    return _api.kubeconfig


@pytest.fixture(scope="session")
def definitions(_api):
    """Applies the CRDs."""
    _api.define()


@pytest.fixture
def kubernetes(_api, definitions):
    client = _api.client()
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
