import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pycalico.apiserver import http1


def test_head():
    request = http1.parse_head(b"GET /a%20b?x=1&y=%2C HTTP/1.1\r\nHost: h\r\nAccept: a\r\naccept: b")
    assert (request.method, request.path, request.query) == ("GET", "/a b", {"x": "1", "y": ","})
    assert request.headers["accept"] == "a,b"


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"GET /",
        b"GET / HTTP/2",
        b"GET x HTTP/1.1",
        b"GET / HTTP/1.1\r\nno colon",
        b"GET / HTTP/1.1\r\n a: b",
    ],
)
def test_bad_heads(head):
    with pytest.raises(http1.BadRequest):
        http1.parse_head(head)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ("Content-Length: -1", 400),
        ("Content-Length: 4294967296", 413),
        ("Content-Length: 99999999999999999999999", 413),
        ("Transfer-Encoding: gzip", 400),
        ("Transfer-Encoding: chunked\r\nContent-Length: 3", 400),
    ],
)
def test_bad_lengths(headers, status):
    with pytest.raises(http1.BadRequest) as caught:
        http1.body_length(http1.parse_head(f"POST / HTTP/1.1\r\n{headers}".encode()))
    assert caught.value.status == status


def test_chunked_body_in_pieces():
    whole = b"3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nTrailer: 1\r\n\r\nGET"
    for cut in range(len(whole) - 4):
        assert http1.dechunk(bytearray(whole[:cut])) is None
    assert http1.dechunk(bytearray(whole)) == (b"abcde", len(whole) - 3)


@given(st.binary(max_size=200))
def test_garbage_is_refused_not_crashed_on(data):
    for parse in (http1.parse_head, lambda d: http1.dechunk(bytearray(d))):
        with contextlib.suppress(http1.BadRequest):
            parse(data)
