import pytest
from ctl_store import Store


@pytest.fixture(scope="session")
def store(tmp_path_factory):
    store = Store(tmp_path_factory.mktemp("etcd"))
    yield store
    store.close()
