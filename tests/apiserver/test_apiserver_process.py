"""The process: durability, signals, refusals to start, hostile clients."""

import os
import resource
import signal
import socket
import stat
import subprocess
import sys
import threading
import time

import pytest
from server_process import Server

MAPS = "/api/v1/namespaces/default/configmaps"


def run(*options):
    return subprocess.run(
        [sys.executable, "-m", "pycalico", "apiserver", *options], capture_output=True, text=True, timeout=20
    )


def test_kill_9_loses_nothing_that_was_answered(make_server):
    server = make_server()
    answered = []

    def write():
        connection = server.connect()
        try:
            for index in range(100_000):
                status, made = server.call(
                    "POST", MAPS, {"metadata": {"name": f"a{index}"}}, connection=connection
                )
                assert status == 201
                answered.append((made["metadata"]["name"], made["metadata"]["resourceVersion"]))
        except OSError:
            pass

    writer = threading.Thread(target=write)
    writer.start()
    time.sleep(0.7)
    server.stop(signal.SIGKILL)
    writer.join()
    assert len(answered) > 50
    server.start()
    _, found = server.call("GET", MAPS)
    stored = {item["metadata"]["name"]: item["metadata"]["resourceVersion"] for item in found["items"]}
    assert {name: stored.get(name) for name, _ in answered} == dict(answered)
    assert int(found["metadata"]["resourceVersion"]) >= int(answered[-1][1])


def test_a_watch_resumes_over_a_restart_and_tokens_stay_valid(make_server):
    server = make_server()
    _, made = server.call("POST", MAPS, {"metadata": {"name": "a"}})
    token = server.token
    server.call("POST", MAPS, {"metadata": {"name": "b"}})
    server.call("DELETE", MAPS + "/a")
    server.stop(signal.SIGKILL)
    server.start()
    assert server.token == token
    events = server.watch(f"{MAPS}?watch=1&resourceVersion={made['metadata']['resourceVersion']}")
    assert [(e["type"], e["object"]["metadata"]["name"]) for e in (next(events), next(events))] == [
        ("ADDED", "b"), ("DELETED", "a")]  # fmt: skip


def test_compaction_survives_restart(make_server):
    server = make_server("--history-events", "10")
    for index in range(40):
        server.call("POST", MAPS, {"metadata": {"name": f"a{index}"}})
        server.call("DELETE", f"{MAPS}/a{index}")
    server.call("POST", MAPS, {"metadata": {"name": "kept"}})
    before = server.call("GET", MAPS)[1]
    assert server.stop() == 0
    server.start()
    after = server.call("GET", MAPS)[1]
    assert after["items"] == before["items"]
    assert int(after["metadata"]["resourceVersion"]) >= int(before["metadata"]["resourceVersion"])
    assert next(server.watch(MAPS + "?watch=1&resourceVersion=2"))["object"]["code"] == 410


def test_crds_and_unfinished_deletions_survive_restart(make_server):
    server = make_server()
    schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    versions = [{"name": "v1", "served": True, "storage": True, "schema": schema}]
    names = {"plural": "things", "kind": "Thing"}
    crd = {"metadata": {"name": "things.ex.io"},
           "spec": {"group": "ex.io", "scope": "Cluster", "names": names, "versions": versions}}  # fmt: skip
    assert server.call("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", crd)[0] == 201
    assert server.call("POST", "/apis/ex.io/v1/things", {"metadata": {"name": "t"}, "x": 1})[0] == 201
    server.call("POST", "/api/v1/namespaces", {"metadata": {"name": "held"}})
    held = {"metadata": {"name": "h", "finalizers": ["ex.io/f"]}}
    server.call("POST", "/api/v1/namespaces/held/configmaps", held)
    server.call("DELETE", "/api/v1/namespaces/held")
    server.stop(signal.SIGKILL)
    server.start()
    assert server.call("GET", "/apis/ex.io/v1/things/t")[1]["x"] == 1
    patch = {"metadata": {"finalizers": None}}
    path = "/api/v1/namespaces/held/configmaps/h"
    server.call("PATCH", path, patch, content_type="application/merge-patch+json")
    deadline = time.monotonic() + 5
    while server.call("GET", "/api/v1/namespaces/held")[0] != 404:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_sigterm_ends_watches_and_exits_0(make_server):
    server = make_server()
    events = server.watch("/api/v1/nodes?watch=1&sendInitialEvents=true&allowWatchBookmarks=true")
    next(events)
    started = time.monotonic()
    assert server.stop() == 0
    assert time.monotonic() - started < 3
    assert list(events) == []
    assert "Traceback" not in server.output


def test_files_are_private(make_server):
    server = make_server()
    assert stat.S_IMODE(server.kubeconfig.stat().st_mode) == 0o600
    for path in (server.directory / "data/pki").iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
    assert stat.S_IMODE((server.directory / "data/state.db").stat().st_mode) == 0o600


def test_a_busy_port_is_one_line_and_exit_1(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = run("--data", str(tmp_path / "d"), "--port", str(port), "--kubeconfig", str(tmp_path / "k"))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        f"apiserver: 127.0.0.1:{port} is already in use: stop the program that listens there or choose "
        "another --port\n"
    )
    assert not (tmp_path / "k").exists()


def test_an_unusable_directory_is_one_line_and_exit_1(tmp_path):
    (tmp_path / "file").write_text("")
    done = run("--data", str(tmp_path / "file" / "d"), "--port", "0")
    assert done.returncode == 1
    assert done.stderr.startswith("apiserver: cannot use data directory")
    assert done.stderr.count("\n") == 1


def test_a_broken_database_is_one_line_and_exit_1(tmp_path):
    (tmp_path / "state.db").write_text("this is no database, it is a text of more than a hundred bytes " * 20)
    done = run("--data", str(tmp_path), "--port", "0")
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "state.db" in done.stderr


def test_one_directory_has_one_server(make_server):
    server = make_server()
    done = run("--data", str(server.directory / "data"), "--port", "0")
    assert (done.returncode, "in use by another API server" in done.stderr) == (1, True)


def test_a_kubeconfig_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    done = run("--data", str(tmp_path / "d"), "--port", "0", "--kubeconfig", str(tmp_path / "file" / "k"))
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)


def test_plain_http_only_when_asked_for(make_server):
    server = make_server("--insecure")
    assert not server.tls
    assert server.call("GET", "/api/v1/nodes")[0] == 200
    assert server.call("GET", "/api/v1/nodes", headers={"Authorization": ""})[0] == 401


@pytest.fixture
def plain(make_server):
    return make_server("--insecure")


def closes_within(sock, seconds):
    sock.settimeout(seconds)
    try:
        while sock.recv(65536):
            pass
    except ConnectionResetError:
        pass
    except TimeoutError:
        return False
    return True


def resident_kb(server):
    with open(f"/proc/{server.process.pid}/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))


@pytest.fixture
def _many_descriptors():
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(before[0], 4096), max(before[1], 4096)))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.mark.usefixtures("_many_descriptors")
def test_slow_idle_and_garbage_clients_are_dropped_and_others_served(plain):
    def connect():
        return socket.create_connection(("127.0.0.1", plain.port))

    before_kb = resident_kb(plain)
    idle = [connect() for _ in range(1000)]
    slow = [connect() for _ in range(3)]
    slow[0].sendall(b"GET /api/v1/nodes HTTP/1.1\r\nHost:")
    slow[1].sendall(b"POST /api/v1/nodes HTTP/1.1\r\nContent-Length: 3000000\r\n\r\n")
    slow[2].sendall(b"GET /api/v1/nodes HTTP/1.1\r\n\r\n")  # is refused, and stays
    stop = threading.Event()

    def drip(sock):
        while not stop.wait(0.3):
            try:
                sock.sendall(b"x")
            except OSError:
                return

    for sock in slow[:2]:
        threading.Thread(target=drip, args=(sock,), daemon=True).start()
    for bad in (
        b"\x16\x03\x01garbage\r\n\r\n",
        b"GET / HTTP/1.1\r\nContent-Length: 4294967296\r\n\r\n",
        b"A" * 70000,
    ):
        sock = connect()
        sock.sendall(bad)
        assert closes_within(sock, 5), bad[:20]
    assert plain.call("GET", "/api/v1/nodes")[0] == 200
    started = time.monotonic()
    assert resident_kb(plain) - before_kb < 50_000
    for sock in [*slow, *idle]:
        assert closes_within(sock, max(0.1, started + 10 - time.monotonic()))
    stop.set()
    assert plain.call("GET", "/api/v1/nodes")[0] == 200


def test_a_watcher_that_does_not_read_is_cut_and_others_are_served(plain):
    lazy = socket.socket()
    lazy.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    lazy.connect(("127.0.0.1", plain.port))
    lazy.sendall(
        f"GET {MAPS}?watch=1 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {plain.token}\r\n\r\n".encode()
    )
    connection = plain.connect()
    size = 900_000
    for index in range(60):
        body = {"metadata": {"name": "big"}, "data": {"x": str(index) + "y" * size}}
        method, path = ("POST", MAPS) if index == 0 else ("PUT", MAPS + "/big")
        assert plain.call(method, path, body, connection=connection)[0] in (200, 201)
    assert closes_within(lazy, 10)
    assert resident_kb(plain) < 400_000


def test_pipelined_requests_are_answered_in_order(plain):
    head = f"Host: x\r\nAuthorization: Bearer {plain.token}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", plain.port)) as sock:
        sock.sendall(
            (f"GET /version HTTP/1.1\r\n{head}GET /healthz HTTP/1.1\r\nConnection: close\r\n{head}").encode()
        )
        data = b""
        while piece := sock.recv(65536):
            data += piece
    assert data.index(b"gitVersion") < data.index(b"\r\n\r\nok")


def test_a_full_disk_refuses_writes_and_keeps_reading(tmp_path):
    if os.geteuid() != 0:
        pytest.fail("needs root to mount a small tmpfs in a private mount namespace")
    script = f"""
set -e
mount -t tmpfs -o size=6m none {tmp_path}
exec {sys.executable} -m pycalico apiserver --insecure --data {tmp_path}/d --port 0 --kubeconfig {tmp_path}.kc
"""
    process = subprocess.Popen(
        ["unshare", "-m", "sh", "-c", script], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        server = Server(tmp_path)
        server.tls = False
        server.port = int(process.stdout.readline().rsplit(":", 1)[1])
        with open(f"{tmp_path}.kc") as file:
            server.token = file.read().split("token: ")[1].split()[0]
        body = {"metadata": {"generateName": "a"}, "data": {"x": "y" * 200_000}}
        codes = [server.call("POST", MAPS, body)[0] for _ in range(60)]
        assert codes[0] == 201
        assert codes[-1] == 500
        status, found = server.call("GET", MAPS)
        assert (status, len(found["items"])) == (200, codes.count(201))
    finally:
        process.terminate()
        process.wait(10)
