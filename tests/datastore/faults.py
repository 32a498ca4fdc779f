"""Faults made with real means: servers stopped, links that swallow, connections cut; and who runs through them."""

import os
import socket
import subprocess
import threading
import time

import pytest
from follower import Follower
from stores import NAMES, open_store


@pytest.fixture(params=NAMES)
def store(request, tmp_path):
    found = open_store(request.param, tmp_path)
    yield found
    found.close()


@pytest.fixture
def follow(store):
    made = []

    def start(*kinds, where=None, **more):
        made.append(Follower(where or store.where, *kinds, **more))
        return made[-1].synced()

    yield start
    for each in made:
        each.close()


class Wire:
    """Two network namespaces with a link between them that can swallow everything."""

    server, client = "10.231.77.2", "10.231.77.1"

    def __init__(self):
        mark = f"pcds{os.getpid()}"
        self._there, self._here = f"{mark}s", f"{mark}c"
        self.enter_server = ("ip", "netns", "exec", self._there)
        self.enter_client = ("ip", "netns", "exec", self._here)
        for name in (self._there, self._here):
            run("ip", "netns", "add", name)
            run("ip", "-n", name, "link", "set", "lo", "up")
        run(
            "ip",
            "-n",
            self._here,
            "link",
            "add",
            "wire",
            "type",
            "veth",
            "peer",
            "name",
            "wire",
            "netns",
            self._there,
        )
        for name, address in ((self._here, self.client), (self._there, self.server)):
            run("ip", "-n", name, "addr", "add", f"{address}/24", "dev", "wire")
            run("ip", "-n", name, "link", "set", "wire", "up")

    def swallow(self):
        rule = "{ type filter hook %s priority 0; policy drop; }"
        chains = "\n".join(f"chain {hook} {rule % hook}" for hook in ("input", "output"))
        run(*self.enter_server, "nft", "-f", "-", input=f"table inet hole {{\n{chains}\n}}\n")

    def release(self):
        run(*self.enter_server, "nft", "delete", "table", "inet", "hole")

    def close(self):
        for name in (self._there, self._here):
            run("ip", "netns", "del", name)


def run(*argv, **more):
    return subprocess.run(
        [*map(str, argv)], check=True, capture_output=True, text=True, timeout=60, **more
    ).stdout


@pytest.fixture
def wire():
    found = Wire()
    yield found
    found.close()


class Cutter:
    """Passes bytes on while ``flows`` is set, and cuts every connection after ``life_s``."""

    def __init__(self, host, port, life_s=600.0):
        self.flows = threading.Event()
        self.flows.set()
        self._to, self._life_s = (host, port), life_s
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.cuts = 0
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._pass, args=(client,), daemon=True).start()

    def _pass(self, client):
        with client, socket.create_connection(self._to) as server:
            for source, sink in ((client, server), (server, client)):
                threading.Thread(target=self._pump, args=(source, sink), daemon=True).start()
            time.sleep(self._life_s)
            self.cuts += 1
            for each in (client, server):
                try:
                    each.shutdown(socket.SHUT_RDWR)
                except OSError:
                    continue

    def _pump(self, source, sink):
        try:
            while data := source.recv(65536):
                self.flows.wait()
                sink.sendall(data)
        except OSError:
            return

    def close(self):
        self._listener.close()


class Supervised:
    """A program that is started again when it ends, as a node's supervisor does."""

    def __init__(self, argv, log, environ):
        self._argv, self._log, self._environ = [*map(str, argv)], log.open("ab"), environ
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self):
        while not self._stopping.is_set():
            process = subprocess.Popen(self._argv, stdout=self._log, stderr=self._log, env=self._environ)
            while process.poll() is None and not self._stopping.wait(0.05):
                continue
            process.terminate()
            process.wait(10)
            self._stopping.wait(0.5)

    def close(self):
        self._stopping.set()
        self._thread.join(20)
        self._log.close()


def eventually(what, seconds):
    deadline = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return found
