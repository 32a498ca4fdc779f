"""Open connections and a policy that becomes stricter: kept as ever, or cut where that is asked for."""

import threading
import time

import pytest
from felix_world import shell
from test_felix_faults import _ADDRESS, A, B, C, _resource, make, until

from pycalico.kernel import netns

pytestmark = [pytest.mark.netns, pytest.mark.timeout(120)]
_FIXTURES = (make,)


class Talk:
    """Pod b says something to port 80 of pod a every 20 ms over one TCP connection; ``heard`` is what came through."""

    def __init__(self, underlay, speaker=B, listener=A, port=80):
        import socket

        self.heard = 0
        netns.enter(f"/proc/self/fd/{underlay._spaces[listener]}")
        server = socket.create_server((_ADDRESS[listener], port))
        netns.enter(f"/proc/self/fd/{underlay._spaces[speaker]}")
        self._speaker = socket.create_connection((_ADDRESS[listener], port), timeout=5)
        self._listener, _ = server.accept()
        server.close()
        self._listener.settimeout(0.1)
        self._stop = threading.Event()
        # The other side has something to say, too, whether it was heard or not.
        works = ((self._speak, self._speaker), (self._speak, self._listener), (self._listen,))
        self._threads = [threading.Thread(target=work, args=ends) for work, *ends in works]
        for thread in self._threads:
            thread.start()

    def _speak(self, end):
        import socket

        while not self._stop.wait(0.02):
            try:
                end.send(b"x", socket.MSG_DONTWAIT)
            except BlockingIOError:
                continue

    def _listen(self):
        while not self._stop.is_set():
            try:
                self.heard += len(self._listener.recv(1000))
            except TimeoutError:
                continue

    def flows(self):
        before = self.heard
        time.sleep(0.5)
        return self.heard - before > 5

    def close(self):
        self._stop.set()
        for thread in self._threads:
            thread.join(5)
        self._speaker.close()
        self._listener.close()


def _talk(node, **between):
    """In a thread, whose namespace changes."""
    talks = []
    worker = threading.Thread(target=lambda: talks.append(Talk(node.lab.underlay, **between)))
    worker.start()
    worker.join(10)
    return talks[0]


def test_a_stricter_policy_cuts_what_it_denies_and_no_more(dataplane, make):
    node = make(**dataplane, FELIX_CONNECTIONPRUNING="Enabled").start()
    talk, other = _talk(node), _talk(node, speaker=A, listener=C, port=81)
    try:
        assert talk.flows()
        assert other.flows()
        # Another rule comes, which allows it still.
        allow = {"action": "Allow", "protocol": "TCP", "source": {"selector": "pod in {'b', 'x'}"},
                 "destination": {"ports": [80]}}  # fmt: skip
        spec = {"selector": "pod == 'a'", "types": ["Ingress"], "ingress": [allow]}
        node.lab.felix.apply(_resource("NetworkPolicy", "only-b", spec, "default"))
        time.sleep(2.5)
        assert talk.flows()
        spec["ingress"] = [{**allow, "source": {"selector": "pod == 'x'"}}]
        node.lab.felix.apply(_resource("NetworkPolicy", "only-b", spec, "default"))
        took_s = until(lambda: not talk.flows(), 6, "the connection is cut")
        print(f"cut after {took_s:.1f} s")
        assert other.flows()
        assert f"src={_ADDRESS[B]} dst={_ADDRESS[A]}" not in shell(
            "conntrack -L -p tcp 2>/dev/null | grep ESTAB", False
        )
        assert "Traceback" not in node.lab.felix.log()
    finally:
        talk.close()
        other.close()


def test_without_being_asked_for_connections_live_on(make):
    node = make(FELIX_IPTABLESBACKEND="legacy").start()
    talk = _talk(node)
    try:
        spec = {"selector": "pod == 'a'", "types": ["Ingress"], "ingress": []}
        node.lab.felix.apply(_resource("NetworkPolicy", "only-b", spec, "default"))
        time.sleep(2)
        assert talk.flows()
    finally:
        talk.close()
