import pytest
from controllers_etcd import Etcd, Kubernetes, Process
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


@pytest.fixture(scope="module")
def shared_server(tmp_path_factory):
    """An API server for a module's tests; each leaves it as it was."""
    server = ApiServer(tmp_path_factory.mktemp("api"))
    server.start()
    yield server
    if server.process.poll() is None:
        server.stop()


@pytest.fixture(scope="module")
def shared_etcd(tmp_path_factory):
    etcd = Etcd(tmp_path_factory.mktemp("etcd"))
    yield etcd
    etcd.stop()


@pytest.fixture
def etcd(shared_etcd):
    shared_etcd.wipe()
    return shared_etcd


@pytest.fixture
def kubernetes(shared_server):
    kubernetes = Kubernetes(shared_server)
    yield kubernetes
    kubernetes.clean()


@pytest.fixture
def run(shared_server, etcd, tmp_path):
    """Starts processes, alone unless LEADER_ELECTION says otherwise, and ends them."""
    started = []

    def start(**options):
        options.setdefault("LEADER_ELECTION", "false")
        started.append(Process(tmp_path, shared_server, etcd, **options))
        return started[-1]

    yield start
    for process in started:
        process.kill()
