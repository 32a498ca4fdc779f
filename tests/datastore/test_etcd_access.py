"""Reaching a real etcd: TLS with client certificates, user and password, several endpoints."""

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from certificates import Certificates

from pycalico.datastore.config import from_environment
from pycalico.datastore.etcd.gateway import Gateway

PROGRAM = str(Path(sys.executable).with_name("calicoctl"))
POOL = "apiVersion: projectcalico.org/v3\nkind: IPPool\nmetadata: {name: p1}\nspec: {cidr: 10.1.0.0/16}\n"


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Etcd:
    def __init__(self, folder, *options, scheme="http"):
        self.url = f"{scheme}://127.0.0.1:{free_port()}"
        peer = f"http://127.0.0.1:{free_port()}"
        self._process = subprocess.Popen(
            ["etcd", "--data-dir", folder, "--unsafe-no-fsync", "--listen-client-urls", self.url,
             "--advertise-client-urls", self.url, "--listen-peer-urls", peer,
             "--initial-advertise-peer-urls", peer, "--initial-cluster", f"default={peer}", *options],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip

    def ready(self, env):
        deadline = time.monotonic() + 20
        while "cannot reach" in (found := calicoctl(env, "get", "ippool").stderr):
            assert self._process.poll() is None, "etcd ended"
            assert time.monotonic() < deadline, found
            time.sleep(0.05)

    def close(self):
        self._process.terminate()
        self._process.wait(10)


def environment(url, **more):
    return {**os.environ, "DATASTORE_TYPE": "etcdv3", "ETCD_ENDPOINTS": url, **more}


def calicoctl(env, *argv, stdin=""):
    return subprocess.run([PROGRAM, *argv], input=stdin, env=env, capture_output=True, text=True, timeout=60)


@pytest.fixture
def plain(tmp_path):
    etcd = Etcd(tmp_path / "plain")
    etcd.ready(environment(etcd.url))
    yield etcd
    etcd.close()


@pytest.fixture
def secured(tmp_path):
    certificates = Certificates(tmp_path)
    etcd = Etcd(
        tmp_path / "secured", "--cert-file", certificates.cert, "--key-file", certificates.key,
        "--trusted-ca-file", certificates.ca, scheme="https",
    )  # fmt: skip
    env = environment(
        etcd.url,
        ETCD_CA_CERT_FILE=certificates.ca,
        ETCD_CERT_FILE=certificates.cert,
        ETCD_KEY_FILE=certificates.key,
    )
    etcd.ready(env)
    yield etcd, certificates, env
    etcd.close()


def test_tls_with_a_client_certificate(secured):
    _, _, env = secured
    assert calicoctl(env, "create", "-f", "-", stdin=POOL).returncode == 0
    assert calicoctl(env, "get", "ippool").stdout.splitlines()[1].split() == ["p1", "10.1.0.0/16", "all()"]
    assert lists_by_grpc(env)


def lists_by_grpc(env):
    gateway = Gateway(from_environment(env))
    channel = gateway.channel()
    channel.ask(b"/calico/", b"/calico0", token=gateway.token())
    found = channel.answer()
    channel.close()
    gateway.close()
    return found is not None and bool(found.kvs)


def test_without_its_certificate_a_client_is_refused_in_one_line(secured):
    _, _, env = secured
    refused = calicoctl({**env, "ETCD_CERT_FILE": "", "ETCD_KEY_FILE": ""}, "get", "ippool")
    assert refused.returncode == 1
    assert refused.stderr.startswith("Failed to get resources: cannot reach etcd at https://")
    assert refused.stderr.count("\n") == 1


def test_a_server_that_the_authority_does_not_vouch_for_is_not_asked(secured):
    etcd, _, _ = secured
    refused = calicoctl(environment(etcd.url), "get", "ippool")
    assert refused.returncode == 1
    assert f"cannot reach etcd at {etcd.url}: " in refused.stderr
    assert "CERTIFICATE_VERIFY_FAILED" in refused.stderr
    assert refused.stderr.count("\n") == 1


def test_user_and_password(plain):
    root = environment(plain.url, ETCD_USERNAME="root", ETCD_PASSWORD="s3cret")

    def post(path, body):
        import urllib.request

        request = urllib.request.Request(plain.url + path, json.dumps(body).encode())
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.load(answer)

    post("/v3/auth/user/add", {"name": "root", "password": "s3cret"})
    post("/v3/auth/role/add", {"name": "root"})
    post("/v3/auth/user/grant", {"user": "root", "role": "root"})
    post("/v3/auth/enable", {})
    assert calicoctl(root, "create", "-f", "-", stdin=POOL).returncode == 0
    assert "p1" in calicoctl(root, "get", "ippool").stdout
    assert lists_by_grpc(root)
    for env in (environment(plain.url), {**root, "ETCD_PASSWORD": "wrong"}):
        refused = calicoctl(env, "get", "ippool")
        assert refused.returncode == 1
        assert refused.stderr.startswith("Failed to get resources: connection is unauthorized: ")
        assert refused.stderr.endswith(f" (etcd at {plain.url})\n")
        assert "s3cret" not in refused.stderr


def test_endpoints_are_tried_in_turn(plain):
    dead = f"http://127.0.0.1:{free_port()}"
    env = environment(f"{dead},{plain.url}")
    assert calicoctl(env, "create", "-f", "-", stdin=POOL).returncode == 0
    assert "p1" in calicoctl(env, "get", "ippool").stdout
    nobody = calicoctl(environment(f"{dead},{dead}"), "get", "ippool")
    assert nobody.returncode == 1
    assert nobody.stderr.startswith(f"Failed to get resources: cannot reach etcd at {dead},{dead}: ")
