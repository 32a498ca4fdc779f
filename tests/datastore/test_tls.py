"""What clients say over TLS, with a server of the standard library's: whom they trust, and how a connection ends."""

import contextlib
import socket
import ssl
import threading

import pytest
from certificates import Certificates

from pycalico.datastore import http1, tls

WHOLE = b"HTTP/1.1 200 OK\r\nContent-Length: 300000\r\n\r\n" + b"x" * 300_000


class Server:
    """One that reads a request and writes ``answer``; ``polite`` ends with TLS's word for it."""

    def __init__(self, certificates, *, answer=WHOLE, polite=True, versions=None, wants_client=False):
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(certificates.cert, certificates.key)
        if versions:
            self._context.set_ciphers("ALL:@SECLEVEL=0")
            self._context.minimum_version, self._context.maximum_version = versions
        if wants_client:
            self._context.load_verify_locations(certificates.ca)
            self._context.verify_mode = ssl.CERT_REQUIRED
        self._answer, self._polite = answer, polite
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.asked = []
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self):
        plain, _ = self._listener.accept()
        try:
            connection = self._context.wrap_socket(plain, server_side=True)
        except OSError:
            plain.close()
            return
        with connection:
            self.asked.append(connection.recv(65536))
            if self._answer is None:
                connection.recv(1)
                return
            connection.sendall(self._answer)
            if self._polite:
                # The client may have had enough already.
                with contextlib.suppress(OSError):
                    connection.unwrap()

    def close(self):
        self._listener.close()
        self._thread.join(10)
        assert not self._thread.is_alive()


@pytest.fixture
def certificates(tmp_path):
    return Certificates(tmp_path)


@pytest.fixture
def serving(certificates):
    servers = []

    def start(**wanted):
        servers.append(Server(certificates, **wanted))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


def asked(server, context, *, server_name="", read_s=5.0):
    connection = http1.Connection(
        "127.0.0.1", server.port, context, connect_s=5, read_s=read_s, server_name=server_name
    )
    try:
        return connection.request("GET", "/", {})
    finally:
        connection.close()


@pytest.mark.parametrize("how", ["file", "text"])
def test_a_server_of_the_authority_is_believed_and_all_of_its_answer_read(serving, certificates, how):
    with open(certificates.ca) as file:
        wanted = {"ca_file": certificates.ca} if how == "file" else {"ca": file.read()}
    server = serving()
    answer = asked(server, tls.Context(**wanted))
    assert (answer.status, len(answer.body)) == (200, 300_000)
    assert server.asked[0].startswith(b"GET / HTTP/1.1\r\n")


def test_a_server_that_nobody_known_vouches_for_is_refused(serving):
    with pytest.raises(tls.Error, match=r"self-signed certificate|unable to get local issuer"):
        asked(serving(), tls.Context())


def test_a_server_of_another_name_is_refused(serving, certificates):
    with pytest.raises(tls.Error, match="Hostname mismatch"):
        asked(serving(), tls.Context(ca_file=certificates.ca), server_name="etcd.example.org")


def test_an_insecure_client_believes_anybody(serving):
    assert asked(serving(), tls.Context(insecure=True)).status == 200


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
def test_old_versions_of_tls_are_refused(serving):
    server = serving(versions=(ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1))
    with pytest.raises(OSError, match=r"unsupported protocol|alert protocol version"):
        asked(server, tls.Context(insecure=True))


def test_a_client_shows_its_certificate(serving, certificates):
    context = tls.Context(ca_file=certificates.ca)
    with open(certificates.cert, "rb") as certificate, open(certificates.key, "rb") as key:
        context.show_text(certificate.read(), key.read())
    assert asked(serving(wants_client=True), context).status == 200


def test_a_key_that_does_not_fit_is_told(certificates, tmp_path):
    (tmp_path / "other").mkdir()
    others = Certificates(tmp_path / "other")
    with pytest.raises(tls.Error, match="mismatch"):
        tls.Context().show(certificates.cert, others.key)


@pytest.mark.parametrize("polite", [True, False])
def test_an_answer_that_is_cut_short_is_no_answer(serving, polite):
    server = serving(answer=WHOLE[:1000], polite=polite)
    with pytest.raises(OSError, match=r"closed|EOF"):
        asked(server, tls.Context(insecure=True))


def test_a_silent_server_is_given_up_on(serving):
    with pytest.raises(TimeoutError):
        asked(serving(answer=None), tls.Context(insecure=True), read_s=0.2)
