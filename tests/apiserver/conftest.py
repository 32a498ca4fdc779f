import re

import pytest
from server_process import Server


@pytest.fixture
def make_server(tmp_path):
    made = []

    def make(*options, name="server"):
        directory = tmp_path / name
        directory.mkdir(exist_ok=True)
        server = Server(directory, *options)
        made.append(server)
        server.start()
        return server

    yield make
    for server in made:
        server.stop()


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    one = Server(tmp_path_factory.mktemp("apiserver"))
    one.start()
    yield one
    assert one.stop() == 0
    assert "Traceback" not in one.output


@pytest.fixture
def namespace(server, request):
    """A namespace of the test's own."""
    prefix = re.sub(r"[^a-z0-9]+", "-", request.node.name.lower())[:40].strip("-")
    status, made = server.call("POST", "/api/v1/namespaces", {"metadata": {"generateName": prefix + "-"}})
    assert status == 201, made
    return made["metadata"]["name"]
