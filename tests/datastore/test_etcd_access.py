"""Reaching a real etcd: TLS with client certificates, user and password, several endpoints."""

import datetime as dt
import ipaddress
import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from pycalico.datastore.config import from_environment
from pycalico.datastore.etcd.gateway import Gateway

PROGRAM = str(Path(sys.executable).with_name("calicoctl"))
POOL = "apiVersion: projectcalico.org/v3\nkind: IPPool\nmetadata: {name: p1}\nspec: {cidr: 10.1.0.0/16}\n"


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Certificates:
    """An authority, and a certificate for 127.0.0.1 that serves and asks."""

    def __init__(self, folder):
        self.folder = folder
        key, name = ec.generate_private_key(ec.SECP256R1()), "authority"
        authority = self._sign(name, key, name, key, authority=True)
        self._write("ca.pem", authority.public_bytes(serialization.Encoding.PEM))
        own = ec.generate_private_key(ec.SECP256R1())
        certificate = self._sign("etcd", own, name, key, authority=False)
        self._write("cert.pem", certificate.public_bytes(serialization.Encoding.PEM))
        self._write(
            "key.pem",
            own.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            ),
        )

    def _write(self, name, data):
        (self.folder / name).write_bytes(data)

    def __getattr__(self, name):
        return str(self.folder / f"{name}.pem")

    @staticmethod
    def _sign(subject, key, issuer, issuer_key, *, authority):
        now = dt.datetime.now(dt.UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)]))
            .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(hours=1))
            .not_valid_after(now + dt.timedelta(hours=1))
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        )
        if not authority:
            builder = builder.add_extension(
                x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]),
                critical=False,
            )
        return builder.sign(issuer_key, hashes.SHA256())


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
