import pytest
from controllers_lab import ApiServer, Cluster


@pytest.fixture
def server(tmp_path):
    server = ApiServer(tmp_path)
    server.start()
    yield server
    if server.process.poll() is None:
        server.stop()


@pytest.fixture
def cluster(server, tmp_path):
    cluster = Cluster(server, tmp_path)
    cluster.install()
    yield cluster
    cluster.close()
