"""What the plugin's launcher makes of its agent's answer."""

import _socket
import socket
import threading

import pytest

from pycalico.cni import invocation, launcher
from pycalico.cni.agent import protocol


class Agent:
    """Takes one call, answers it and closes, before the caller does anything else."""

    def __init__(self, path):
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(path)
        self._listener.listen()
        self.done = threading.Event()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self):
        connection = self._listener.accept()[0]
        call = b""
        while not call.endswith(b"the end"):
            call += connection.recv(1 << 16)
        connection.sendall(b"0 2 0\nok")
        connection.close()
        self.done.set()

    def close(self):
        self._thread.join()
        self._listener.close()


@pytest.fixture
def agent(tmp_path, monkeypatch):
    path = str(tmp_path / "agent.sock")
    found = Agent(path)

    class Slow(_socket.socket):
        """The scheduler has the caller wait after it has sent."""

        def sendmsg(self, *arguments):
            sent = super().sendmsg(*arguments)
            assert found.done.wait(10)
            return sent

    monkeypatch.setattr(_socket, "socket", Slow)
    monkeypatch.setattr(launcher, "SOCKET", path.encode())
    yield found
    monkeypatch.undo()
    found.close()


def test_an_agent_that_answers_at_once_is_not_lost(agent):
    """Done again by the plugin alone, the call would have cost the pod its first address."""
    assert launcher.ask("calico", b"the end") == (0, b"ok", b"")


def test_the_launcher_and_the_rest_mean_the_same():
    """It imports nothing of ours, so it has what it shares with others once more."""
    assert launcher.LOST.decode() == invocation.LOST
    assert launcher.SOCKET.decode() == protocol.SOCKET
    assert launcher._DECLINED == protocol.DECLINED
