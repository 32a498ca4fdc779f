"""The small HTTP client against answers as servers give them, sound and not."""

import socket
import threading

import pytest

from pycalico.datastore.http1 import Closed, Connection


class Server:
    """Answers each request with the next of its texts."""

    def __init__(self, *answers):
        self.requests = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, args=(answers,))
        self._thread.start()

    def _serve(self, answers):
        connection, _ = self._listener.accept()
        with connection, connection.makefile("rb") as file:
            for answer in answers:
                head = b"".join(iter(file.readline, b"\r\n"))
                length = int(next(line for line in head.split(b"\r\n") if b"Length" in line).split(b":")[1])
                self.requests.append((head, file.read(length)))
                connection.sendall(answer)

    def close(self):
        self._thread.join(5)
        self._listener.close()


def ask(*answers):
    server = Server(*answers)
    connection = Connection("127.0.0.1", server.port, None, connect_s=1, read_s=1)
    try:
        for _ in answers:
            yield connection.post("/v3/kv/range", b"{}", {"Content-Type": "application/json"}), connection
    finally:
        connection.close()
        server.close()
    head, body = server.requests[0]
    assert head.startswith(b"POST /v3/kv/range HTTP/1.1\r\n")
    assert f"Host: 127.0.0.1:{server.port}\r\n".encode() in head
    assert body == b"{}"


@pytest.mark.parametrize(
    ("answer", "outcome", "reusable"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc", (200, b"abc"), True),
        (b"HTTP/1.1 404 Not Found\r\ncontent-length:0\r\n\r\n", (404, b""), True),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n4;x=y\r\ndefg\r\n0\r\nTrailer: x\r\n\r\n",
            (200, b"abcdefg"),
            True,
        ),
        (b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1\r\n\r\na", (200, b"a"), False),
        (b"HTTP/1.0 503 No\r\n\r\nuntil the end", (503, b"until the end"), False),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na", (200, b"a"), True),
    ],
)
def test_answers(answer, outcome, reusable):
    for found, connection in ask(answer):
        assert found == outcome
        assert connection.reusable == reusable


def test_one_connection_serves_several_requests():
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na"
    assert [found for found, _ in ask(answer, answer, answer)] == [(200, b"a")] * 3


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Le",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"\x15\x03\x01\x00\x02\x02F\n",
    ],
)
def test_what_is_no_whole_answer_is_an_error(answer):
    with pytest.raises(Closed):
        list(ask(answer))


def test_a_silent_server_is_given_up_on():
    listener = socket.create_server(("127.0.0.1", 0))
    connection = Connection("127.0.0.1", listener.getsockname()[1], None, connect_s=1, read_s=0.1)
    with pytest.raises(TimeoutError):
        connection.post("/", b"", {})
    connection.close()
    listener.close()


def test_lines_of_a_stream_come_whole_however_they_are_cut():
    long = b"x" * 100_000
    whole = b"one\n" + long + b"\n\nlast"
    chunks = [whole[at : at + 30_000] for at in range(0, len(whole), 30_000)]
    body = b"".join(f"{len(chunk):x}\r\n".encode() + chunk + b"\r\n" for chunk in chunks) + b"0\r\n\r\n"
    server = Server(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + body)
    connection = Connection("127.0.0.1", server.port, None, connect_s=1, read_s=1)
    answer = connection.request("POST", "/watch", {}, b"{}", stream=True)
    assert list(answer.lines()) == [b"one", long, b"", b"last"]
    connection.close()
    server.close()
