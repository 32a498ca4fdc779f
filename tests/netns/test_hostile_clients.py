"""Clients that do not get on with it, at the sockets that a node's services listen on: others are served meanwhile."""

import contextlib
import os
import resource
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path

import pytest

from pycalico.cni.agent import protocol

pytestmark = pytest.mark.netns

#: Health as Felix serves it and metrics as confd does, in a process of their own; descriptors as few as services may get.
SERVE = """
import resource, sys, time
from pycalico.base import health
from pycalico.confd import metrics
resource.setrlimit(resource.RLIMIT_NOFILE, (128, 128))
parts = health.Health()
parts.register("part")
parts.report("part")
served = health.serve(parts, "localhost", 0)
wanted = {"CONFD_PROMETHEUSMETRICSENABLED": "true", "CONFD_PROMETHEUSMETRICSHOST": "127.0.0.1", "CONFD_PROMETHEUSMETRICSPORT": "0"}
print(served.port, metrics.serve(wanted, lambda: "figure 1\\n" * 400_000), flush=True)
time.sleep(600)
"""
DROPPED_S = 10.0


@pytest.fixture(autouse=True)
def _descriptors():
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(before[0], 4096), max(before[1], 4096)))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.fixture
def served():
    """(process, health's port, metrics' port)."""
    process = subprocess.Popen([sys.executable, "-c", SERVE], stdout=subprocess.PIPE, text=True)
    try:
        yield process, *map(int, process.stdout.readline().split())
    finally:
        process.kill()
        process.wait()


def resident_mib(pid):
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def ended_by(sock, deadline):
    """Whether the other side ends the connection in time."""
    sock.settimeout(max(0.01, deadline - time.monotonic()))
    try:
        while sock.recv(1 << 16):
            pass
    except ConnectionError:
        pass
    except TimeoutError:
        return False
    return True


def dripping(sock, stop):
    """One byte after the other."""
    while not stop.wait(0.3):
        try:
            sock.sendall(b"x")
        except OSError:
            return


def test_health_and_metrics_are_served_whoever_else_connects(served):
    process, health, metrics = served
    before = resident_mib(process.pid)
    stop = threading.Event()
    began = time.monotonic()
    with contextlib.ExitStack() as opened:

        def connect(port, first=b""):
            sock = opened.enter_context(socket.create_connection(("127.0.0.1", port)))
            sock.sendall(first)
            return sock

        hostile = [connect(port) for port in (health, metrics) for _ in range(500)]
        for port in (health, metrics):
            hostile += [
                connect(port, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
                connect(port, b"POST /liveness HTTP/1.1\r\nContent-Length: 4294967296\r\n\r\n"),
                connect(port, b"GET /" + b"a" * 8100),
                connect(port, b"\0" * 20000),
                connect(port, b"GET /metrics HTTP/1.1\r\nX: "),
            ]
            threading.Thread(target=dripping, args=(hostile[-1], stop), daemon=True).start()
        # Asks for megabytes and reads none of them.
        hostile.append(connect(metrics, b"GET /metrics HTTP/1.1\r\n\r\n"))
        slowest = 0.0
        while time.monotonic() - began < 3:
            asked = time.monotonic()
            with urllib.request.urlopen(f"http://127.0.0.1:{health}/liveness", timeout=5) as answer:
                assert answer.status == 200
            slowest = max(slowest, time.monotonic() - asked)
            time.sleep(0.1)
        assert slowest < 1
        with urllib.request.urlopen(f"http://127.0.0.1:{metrics}/metrics", timeout=5) as answer:
            assert len(answer.read()) == 9 * 400_000
        assert resident_mib(process.pid) - before < 50
        left = [sock for sock in hostile if not ended_by(sock, began + DROPPED_S)]
        stop.set()
        assert not left, [hostile.index(sock) for sock in left]
    assert process.poll() is None


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"GET /liveness HTTP/1.1\r\nHost: a\r\n\r\n", b"200 OK"),
        (b"HEAD /readiness?verbose HTTP/1.0\r\n\r\n", b"200 OK"),
        (b"GET /nowhere HTTP/1.1\r\n\r\n", b"404 Not Found"),
        (b"DELETE /liveness HTTP/1.1\r\n\r\n", b"405 Method Not Allowed"),
        (b"garbage\r\n\r\n", b"400 Bad Request"),
        (b"GET / HTTP/1.1\r\nX: " + b"a" * 9000, b"431 Request Header Fields Too Large"),
    ],
)
def test_each_request_has_its_answer(served, request_bytes, status):
    with socket.create_connection(("127.0.0.1", served[1])) as sock:
        sock.sendall(request_bytes)
        text = b""
        while piece := sock.recv(1 << 16):
            text += piece
    head, _, body = text.partition(b"\r\n\r\n")
    assert head.split(b"\r\n")[0] == b"HTTP/1.1 " + status
    assert bool(body) == (
        (request_bytes.startswith(b"GET") and b"404" in head) or b"GET /liveness" in request_bytes
    )


def test_callers_of_the_cni_agent_that_do_not_finish_hold_no_worker(tmp_path):
    path = tmp_path / "agent.sock"
    code = f"from pycalico.cni.agent import main; agent = main.Agent({str(path)!r}); agent.listen(); agent.serve()"
    process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL)
    stop = threading.Event()
    try:
        deadline = time.monotonic() + 10
        while not path.exists():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        before = resident_mib(process.pid)
        began = time.monotonic()
        with contextlib.ExitStack() as opened:

            def connect(first=b""):
                sock = opened.enter_context(socket.socket(socket.AF_UNIX))
                sock.connect(str(path))
                sock.sendall(first)
                return sock

            # As many as there are workers, and each keeps on sending.
            hostile = [connect(b"cni 1 v calico 900 900\n") for _ in range(16)]
            hostile += [
                connect(b"cni 1 v calico 99999999999 0\n"),
                connect(b"\xff" * 300),
                *(connect() for _ in range(100)),
            ]
            for sock in hostile[:16]:
                threading.Thread(target=dripping, args=(sock, stop), daemon=True).start()
            asking = connect(b"cni 1 v none 0 0\n")
            asking.settimeout(DROPPED_S)
            assert asking.recv(100).startswith(b"%d " % protocol.DECLINED)
            assert resident_mib(process.pid) - before < 50
            assert all(ended_by(sock, began + 2 * DROPPED_S) for sock in hostile)
    finally:
        stop.set()
        process.kill()
        process.wait()
