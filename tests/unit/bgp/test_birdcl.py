import socket
import threading

import pytest

from pycalico.bgp import birdcl


@pytest.fixture
def bird(tmp_path):
    """A socket that greets and answers as BIRD 1.6.8 was seen to."""
    path = tmp_path / "bird.ctl"
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(path))
    server.listen()
    asked = []

    def serve():
        connection, _ = server.accept()
        with connection, connection.makefile("rw") as stream:
            stream.write("0001 BIRD 1.6.8 ready.\n")
            stream.flush()
            for line in stream:
                asked.append(line.strip())
                stream.write(
                    "2002-name     proto    table    state  since       info\n"
                    "1002-static1  Static   master   up     10:30:27    \n"
                    " kernel1  Kernel   master   up     10:30:27    \n0000 \n"
                )
                stream.flush()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield path, asked
    server.close()


def test_one_question(bird, capsys):
    path, asked = bird
    birdcl.main(["-s", str(path), "show", "protocols"])
    assert asked == ["show protocols"]
    assert capsys.readouterr().out.splitlines() == [
        "BIRD 1.6.8 ready.",
        "name     proto    table    state  since       info",
        "static1  Static   master   up     10:30:27    ",
        "kernel1  Kernel   master   up     10:30:27    ",
    ]


def test_restricted(bird):
    path, asked = bird
    birdcl.main(["-r", "-s", str(path), "down"])
    assert asked == ["restrict", "down"]


def test_no_bird_is_one_line(tmp_path):
    with pytest.raises(SystemExit) as ended:
        birdcl.main(["-s", str(tmp_path / "none"), "show", "status"])
    assert str(ended.value).startswith("birdcl: unable to connect to BIRDv4 socket: dial unix")
