import http.server
import os
import socket
import threading
import time

import pytest

from pycalico.bgp import birdctl
from pycalico.node import health
from pycalico.node.health import Unhealthy

HEAD = "2002-name     proto    table    state  since       info\n"


class FakeBird:
    """Answers from a script, for states that a real BIRD cannot be held in."""

    def __init__(self, path):
        self.protocols = HEAD + "0000 \n"
        self.status = "1000-BIRD 1.6.8\n0013 Daemon is up and running\n"
        self._server = socket.socket(socket.AF_UNIX)
        self._server.bind(path)
        self._server.listen()
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        while True:
            connection, _ = self._server.accept()
            with connection:
                connection.sendall(b"0001 BIRD 1.6.8 ready.\n")
                for line in connection.makefile():
                    answer = self.protocols if "protocols" in line else self.status
                    connection.sendall(answer.encode())

    def peers(self, *states):
        rows = [f"Mesh_10_0_0_{n} BGP master up 01:02:03 {state}" for n, state in enumerate(states, 2)]
        body = "".join(("1002-" if n == 0 else " ") + row + "\n" for n, row in enumerate(rows))
        self.protocols = HEAD + body + "0000 \n"


@pytest.fixture
def bird(tmp_path, monkeypatch):
    path = str(tmp_path / "b.ctl")
    monkeypatch.setitem(birdctl.SOCKETS, 4, (path,))
    return FakeBird(path)


@pytest.fixture
def nodename(tmp_path):
    path = tmp_path / "nodename"
    path.write_text("n1")
    return path


def old(path):
    os.utime(path, (time.time() - 60, time.time() - 60))


@pytest.mark.parametrize(
    ("states", "young", "failure"),
    [
        ((), True, None),
        (("Established", "Established"), True, None),
        (("Established", "Active"), True, "BIRD is not ready: BGP not established with 10.0.0.3"),
        (("Connect", "Active"), True, "BIRD is not ready: BGP not established with 10.0.0.2,10.0.0.3"),
        (("Established", "Active"), False, None),
        (("Connect", "Active"), False, "BIRD is not ready: BGP not established with 10.0.0.2,10.0.0.3"),
    ],
)
def test_bird_ready(bird, nodename, states, young, failure):
    bird.peers(*states)
    if not young:
        old(nodename)
    if failure is None:
        health.bird_ready(4, 30.0, nodename)
    else:
        with pytest.raises(Unhealthy) as caught:
            health.bird_ready(4, 30.0, nodename)
        assert str(caught.value) == failure


def test_recovery_counts_while_the_node_is_young(bird, nodename):
    bird.peers("Established")
    bird.status = (
        "1000-BIRD 1.6.8\n0024-Graceful restart recovery in progress\n0013 Daemon is up and running\n"
    )
    with pytest.raises(Unhealthy, match="graceful restart in progress"):
        health.bird_ready(4, 30.0, nodename)
    old(nodename)
    health.bird_ready(4, 30.0, nodename)


def test_without_bird_or_name(tmp_path, nodename, monkeypatch):
    monkeypatch.setitem(birdctl.SOCKETS, 4, (str(tmp_path / "none"),))
    with pytest.raises(
        Unhealthy, match="BIRD is not ready: Error querying BIRD: unable to connect to BIRDv4 socket"
    ):
        health.bird_ready(4, 30.0, nodename)
    with pytest.raises(
        Unhealthy, match=r"Failed to stat\(\) nodename file: stat .*: no such file or directory"
    ):
        health.bird_ready(4, 30.0, tmp_path / "absent")


def test_felix():
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200 if self.path == "/liveness" else 503)
            self.end_headers()

        def log_message(self, *args):
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    environ = {"FELIX_HEALTHHOST": "127.0.0.1", "FELIX_HEALTHPORT": str(server.server_port)}
    health.felix("liveness", "Felix is not live", environ)
    with pytest.raises(Unhealthy, match="felix is not ready: readiness probe reporting 503"):
        health.felix("readiness", "felix is not ready", environ)
    server.shutdown()
    server.server_close()
    with pytest.raises(Unhealthy, match="FELIX_HEALTHPORT 'x' is no port number"):
        health.felix("liveness", "Felix is not live", {"FELIX_HEALTHPORT": "x"})
