"""The launcher and the agent together, over a real socket, and what happens when either fails."""

import json
import os
import socket
import subprocess
import sys
import threading
import time

import pytest

from pycalico import __version__
from pycalico.cni import launch
from pycalico.cni.agent import protocol
from pycalico.cni.agent.main import Agent
from pycalico.cni.entry import Answer


@pytest.fixture
def launcher(tmp_path):
    """The plugins as they are installed, but for the socket's place."""
    launch.place(tmp_path, _source(tmp_path), tmp_path)
    return tmp_path


def _source(directory):
    text = launch.text().replace(protocol.SOCKET, str(directory / "agent.sock"))
    assert str(directory) in text
    return text


@pytest.fixture
def agent(tmp_path):
    agent = Agent(str(tmp_path / "agent.sock"))
    agent.listen()
    thread = threading.Thread(target=agent.serve)
    thread.start()
    yield agent
    agent.stop()
    thread.join(10)
    assert not thread.is_alive()


def call(directory, name="calico", given=b"", **variables):
    env = {"PATH": os.environ["PATH"], "CNI_COMMAND": "ADD", **variables}
    return subprocess.run([directory / name], input=given, env=env, capture_output=True, timeout=30)


VALID = {"CNI_CONTAINERID": "c", "CNI_NETNS": "/nothing", "CNI_IFNAME": "eth0", "CNI_PATH": "/nothing"}


@pytest.mark.parametrize("with_agent", [True, False])
@pytest.mark.parametrize(
    ("given", "variables", "code"),
    [
        (b"{}", {}, 4),
        (b"{", VALID, 6),
        (b'{"name": "n", "cniVersion": "9.9.9"}', VALID, 1),
        (b'{"name": "a/b", "cniVersion": "0.3.1"}', VALID, 7),
    ],
)
def test_refusals_are_the_same_with_and_without_the_agent(
    launcher, request, with_agent, given, variables, code
):
    if with_agent:
        request.getfixturevalue("agent")
    done = call(launcher, given=given, **variables)
    assert done.returncode == 1
    assert json.loads(done.stdout)["code"] == code


def test_the_agent_answers_and_not_the_launcher(launcher, agent, monkeypatch):
    seen = []
    monkeypatch.setattr(agent, "_answered", lambda request: seen.append(request) or Answer(3, b"out", "err"))
    with open(launcher / "namespace", "w") as file:
        file.write("netns")
    done = call(
        launcher, "calico-ipam", b"x" * 300_000, CNI_NETNS=str(launcher / "namespace"), CNI_ARGS="A=ä;B="
    )
    assert (done.returncode, done.stdout, done.stderr) == (3, b"out", b"err")
    (request,) = seen
    assert (request.plugin, request.version) == ("calico-ipam", __version__)
    assert request.given == b"x" * 300_000
    assert request.environ["CNI_ARGS"] == "A=ä;B="
    assert request.netns is not None


def test_an_agent_of_another_version_declines_and_the_plugin_does_it_itself(launcher, agent):
    text = _source(launcher).replace(f"VERSION = {__version__!r}", "VERSION = '9.9'")
    assert "9.9" in text
    launch.place(launcher, text, launcher)
    done = call(launcher, given=b"{", **VALID)
    assert json.loads(done.stdout)["code"] == 6


def test_without_its_byte_code_the_plugin_says_what_to_do(launcher):
    for code in launcher.glob("launcher.*.code"):
        code.write_bytes(b"")
    done = call(launcher, given=b"{", **VALID)
    assert (done.returncode, json.loads(done.stdout)["code"]) == (1, 5)
    assert "install it again" in json.loads(done.stdout)["msg"]


@pytest.mark.parametrize("behaviour", ["silent", "half", "garbage", "gone"])
def test_a_broken_agent_is_done_without(launcher, behaviour):
    """A stale socket, an agent that dies in the middle, one that talks nonsense."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(launcher / "agent.sock"))
    if behaviour == "gone":
        listener.close()
    else:
        listener.listen()

        def serve():
            connection, _ = listener.accept()
            connection.recv(1 << 16)
            if behaviour == "half":
                connection.sendall(b"0 1000 0\n{")
            elif behaviour == "garbage":
                connection.sendall(b"hello there, friend\n")
            connection.close()

        threading.Thread(target=serve, daemon=True).start()
    done = call(launcher, given=b"{", **VALID)
    assert json.loads(done.stdout)["code"] == 6


@pytest.mark.parametrize("data", [b"", b"\n", b"GET / HTTP/1.1\r\n\r\n", b"cni 1 0.1.0 calico 99999999999 1\n", b"cni 1 a b -5 x\n", b"cni 1 0.1.0 calico 10 10\nabc"])  # fmt: skip
def test_callers_that_talk_nonsense_are_dropped_and_others_served(launcher, agent, data):
    with socket.socket(socket.AF_UNIX) as caller:
        caller.connect(str(launcher / "agent.sock"))
        caller.sendall(data)
        caller.shutdown(socket.SHUT_WR)
        caller.settimeout(5)
        assert caller.recv(100) == b""
    assert json.loads(call(launcher, given=b"{", **VALID).stdout)["code"] == 6


def test_the_socket_is_for_root_alone(launcher, agent):
    assert (launcher / "agent.sock").stat().st_mode & 0o777 == 0o600


def test_a_killed_agent_is_replaced_by_the_next(tmp_path):
    code = "import sys; from pycalico.cni.agent.main import Agent; a = Agent(sys.argv[1]); a.listen(); print(1, flush=True); a.serve()"
    path = str(tmp_path / "agent.sock")
    for _ in range(2):
        process = subprocess.Popen([sys.executable, "-c", code, path], stdout=subprocess.PIPE)
        process.stdout.readline()
        with socket.socket(socket.AF_UNIX) as caller:
            caller.connect(path)
        process.kill()
        process.wait()
    assert os.path.exists(path)


def test_the_launcher_imports_nothing_but_what_is_built_in():
    began = time.perf_counter()
    script = "import sys; sys.argv = ['/x/calico', '-v']; before = set(sys.modules); exec(open(0).read().split('if __name__')[0]); print(sorted(set(sys.modules) - before))"
    done = subprocess.run(
        [os.path.realpath(sys.executable), "-IS", "-c", script], input=launch.text(), capture_output=True, text=True
    )  # fmt: skip
    assert done.stdout == "[]\n", done.stderr
    assert time.perf_counter() - began < 5
