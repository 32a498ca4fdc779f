import threading
import time

import pytest

from pycalico.datastore.errors import Unauthorized, Unavailable
from pycalico.syncer import pulse
from pycalico.syncer.pulse import Pulse


class Server:
    """Says something by itself at ``heard``; a ping is answered with ``fault``, or not."""

    def __init__(self):
        self.heard, self.fault, self.asked = time.monotonic(), None, 0

    def ping(self, timeout_s):
        self.asked += 1
        if self.fault:
            raise self.fault


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(pulse, "_AGAIN_S", 0.02)
    return Server()


@pytest.fixture
def watched(server):
    found, stop = Pulse(server.ping, lambda: server.heard, 0.1), threading.Event()
    thread = threading.Thread(target=found.run, args=(stop,))
    thread.start()
    yield found
    stop.set()
    thread.join()


def until(condition):
    end = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def test_one_that_talks_is_not_asked(server, watched):
    for _ in range(30):
        server.heard = time.monotonic()
        time.sleep(0.01)
    assert server.asked == 0


def test_one_that_answers_lives_whatever_it_answers(server, watched):
    until(lambda: server.asked == 1)
    server.fault = Unauthorized("who are you", forbidden=True)
    until(lambda: server.asked == 2)
    assert watched.silent_s() == 0


def test_silence_is_measured_until_an_answer_or_an_event(server, watched, caplog):
    server.fault = Unavailable("nobody there")
    until(lambda: watched.silent_s() > 0.1)
    server.heard = time.monotonic()
    assert watched.silent_s() == 0
    until(lambda: server.asked > 5)
    server.fault = None
    until(lambda: watched.silent_s() == 0 and "is back" in caplog.text)
    assert caplog.text.count("no sign of life") == 1
