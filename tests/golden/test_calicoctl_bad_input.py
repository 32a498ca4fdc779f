"""What people get wrong: files that do not parse, servers that are not there, outputs that are no terminal."""

import os
import pty
import re
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

PROGRAM = str(Path(sys.executable).with_name("calicoctl"))
GOOD = "apiVersion: projectcalico.org/v3\nkind: IPPool\nmetadata: {name: good}\nspec: {cidr: 10.1.0.0/16}\n"
_FOREIGN = re.compile(r"(CALICO_|ETCD_|KUBE|K8S_|DATASTORE)")


def environ(**more):
    return {name: value for name, value in os.environ.items() if not _FOREIGN.match(name)} | more


@pytest.fixture
def env(store):
    store.clear()
    return environ(DATASTORE_TYPE="etcdv3", ETCD_ENDPOINTS=store.url)


def ctl(env, *argv, **options):
    return subprocess.run([PROGRAM, *argv], env=env, capture_output=True, text=True, timeout=60, **options)


@pytest.mark.parametrize(
    ("second", "place"),
    [
        ("kind: IPPool\nmetadata:\n  name: [x\nspec: {}\n", "line 9"),
        ("kind: IPPool\n\tmetadata: {}\n", "line 7"),
        ("kind: IPPool\nspec: a: b\n", "line 7"),
        (GOOD.replace("cidr", "cird"), "the document at line 6"),
        ("- just\n- words\n", "the document at line 6"),
    ],
)
def test_a_file_that_does_not_parse_is_named_with_the_line_and_nothing_is_written(
    env, store, tmp_path, second, place
):
    (tmp_path / "pools.yaml").write_text(f"{GOOD}---\n{second}")
    for verb in ("create", "apply", "replace", "delete"):
        done = ctl(env, verb, "-f", "pools.yaml", cwd=tmp_path)
        assert done.returncode == 1
        assert done.stderr.count("\n") == 1, done.stderr
        assert done.stderr.endswith(f" (pools.yaml, {place})\n"), done.stderr
    assert store.contents() == {}


def test_one_bad_file_of_a_folder_stops_all(env, store, tmp_path):
    (tmp_path / "a.yaml").write_text(GOOD)
    (tmp_path / "b.yaml").write_text("kind: [\n")
    done = ctl(env, "apply", "-f", str(tmp_path))
    assert done.returncode == 1
    assert f"({tmp_path}/b.yaml, line 2)" in done.stderr
    assert store.contents() == {}


@pytest.mark.parametrize("argv", [("get", "nodes"), ("apply", "-f", "-"), ("ipam", "check"), ("version",)])
@pytest.mark.parametrize("kind", ["etcdv3", "kubernetes"])
def test_an_unreachable_datastore_is_one_line_that_names_it(kind, argv):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        place = f"127.0.0.1:{free.getsockname()[1]}"
    env = environ(DATASTORE_TYPE=kind, ETCD_ENDPOINTS=f"http://{place}", K8S_API_ENDPOINT=f"https://{place}")
    began = time.monotonic()
    done = ctl(env, *argv, input=GOOD)
    assert time.monotonic() - began < 5
    assert done.returncode == 1
    assert place in done.stderr
    assert "Connection refused" in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.strip().count("\n") == 0, done.stderr


def test_a_server_that_speaks_something_else_is_one_line():
    listener = socket.create_server(("127.0.0.1", 0))
    place = f"127.0.0.1:{listener.getsockname()[1]}"

    def answer():
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                connection.recv(4096)
                connection.sendall(b"220 mail.example ESMTP\r\n")

    threading.Thread(target=answer, daemon=True).start()
    done = ctl(environ(DATASTORE_TYPE="etcdv3", ETCD_ENDPOINTS=f"http://{place}"), "get", "nodes")
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    assert done.returncode == 1
    assert place in done.stderr
    assert done.stderr.strip().count("\n") == 0, done.stderr


def test_colours_only_where_a_terminal_is(env):
    assert ctl(env, "create", "-f", "-", input=GOOD).returncode == 0
    plain = ctl(env, "get", "ippool").stdout
    assert "\x1b" not in plain
    seen, told = pty.openpty()
    process = subprocess.Popen([PROGRAM, "get", "ippool"], env={**env, "TERM": "xterm"}, stdout=told)
    assert process.wait(30) == 0
    os.close(told)
    shown = os.read(seen, 65536).decode().replace("\r\n", "\n")
    os.close(seen)
    assert re.sub(r"\x1b\[[0-9;]*m", "", shown) == plain
    assert "\x1b[" in shown
    dumb = subprocess.run(
        ["script", "-qec", f"{PROGRAM} get ippool", "/dev/null"], env={**env, "NO_COLOR": "1"}, capture_output=True, text=True
    )  # fmt: skip
    assert "\x1b[" not in dumb.stdout


def test_credentials_are_of_no_use_where_etcd_asks_for_none(store):
    store.clear()
    env = environ(
        DATASTORE_TYPE="etcdv3", ETCD_ENDPOINTS=store.url, ETCD_USERNAME="calico", ETCD_PASSWORD="secret"
    )
    assert ctl(env, "create", "-f", "-", input=GOOD).returncode == 0
    assert "good" in ctl(env, "get", "ippool").stdout
    assert ctl(env, "ipam", "show").returncode == 0
