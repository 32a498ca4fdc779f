"""Lists by gRPC from a real etcd: the same as by its JSON gateway, and the gateway's where gRPC does not get through."""

import random
import socket
import threading

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pycalico.datastore.config import DatastoreConfig
from pycalico.datastore.errors import RevisionExpired
from pycalico.datastore.etcd import grpc
from pycalico.datastore.etcd.answers import RangeAnswer
from pycalico.datastore.etcd.client import EtcdClient
from pycalico.datastore.etcd.gateway import b64, prefix_end

PREFIX = "/grpc/"
BEGIN, END = b"/grpc/", b"/grpc0"


@pytest.fixture(scope="module")
def filled(etcd):
    """Keys of all sizes, some written again and again."""
    dice = random.Random(3)
    client = etcd.client()
    for number in range(700):
        value = dice.randbytes(
            dice.choice((0, 1, 5, 126, 127, 128, 300, 16_383, 70_000 if number % 50 == 0 else 9))
        )
        client.gateway.put_if(f"{PREFIX}{'k' * (number % 200)}{number:04}é", value, "")
        if number % 7 == 0:
            client.gateway.put_if(f"{PREFIX}{'k' * (number % 200)}{number:04}é", value + b"!", "")
    yield client.gateway
    client.gateway.delete_prefix(PREFIX)
    client.close()


def by_gateway(gateway, prefix=PREFIX):
    return gateway.call("/v3/kv/range", {"key": b64(prefix), "range_end": prefix_end(prefix)}, RangeAnswer)


def answer(gateway, *asked, **options):
    channel = gateway.channel()
    try:
        channel.ask(*asked, **options)
        return channel.answer()
    finally:
        channel.close()


def test_a_list_is_what_the_gateway_tells(filled):
    found = answer(filled, BEGIN, END)
    assert len(found.kvs) == 700
    assert (found.kvs, found.header, found.more) == (by_gateway(filled).kvs, by_gateway(filled).header, False)
    assert filled.range(PREFIX, prefix=True) == found


def test_pages_are_of_one_revision_and_one_channel(filled):
    pages, opened = [], []
    channel = filled.channel
    filled.channel = lambda: opened.append(channel()) or opened[-1]
    try:
        for page in filled.pages(PREFIX, 99):
            pages.append(page)
            if len(pages) == 2:
                filled.put_if(f"{PREFIX}zzz", b"later", "")
    finally:
        del filled.channel
        filled.delete_if(f"{PREFIX}zzz", "")
    assert [len(page.kvs) for page in pages] == [99] * 7 + [7]
    assert [page.more for page in pages] == [True] * 7 + [False]
    assert len({page.header.revision for page in pages}) == 1
    assert [kv for page in pages for kv in page.kvs] == by_gateway(filled).kvs
    assert len(opened) == 1


def test_an_empty_list(filled):
    found = answer(filled, b"/nothing/", b"/nothing0")
    assert (found.kvs, found.more) == ([], False)
    assert int(found.header.revision) > 0


def test_what_etcd_refuses_is_told_by_the_gateway(filled):
    ahead = str(int(by_gateway(filled).header.revision) + 1000)
    assert answer(filled, BEGIN, END, revision=int(ahead)) is None
    with pytest.raises(Exception, match="required revision is a future revision"):
        filled.range(PREFIX, prefix=True, revision=ahead)


def test_a_compacted_revision(etcd):
    client = etcd.client()
    first = client.gateway.put_if(f"{PREFIX}old", b"1", "").header.revision
    client.gateway.put_if(f"{PREFIX}old", b"2", "")
    etcd.compact()
    with pytest.raises(RevisionExpired):
        client.gateway.range(PREFIX, prefix=True, revision=str(int(first) - 1))
    client.gateway.delete_prefix(PREFIX)
    client.close()


@pytest.mark.parametrize("manner", ["refuses", "hangs up", "talks nonsense"])
def test_what_stands_between_and_knows_no_http_2(etcd, manner):
    """As a proxy that speaks HTTP/1.1 only: requests of it go through, others do not."""
    listener = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=_proxy, args=(listener, etcd.url, manner), daemon=True)
    thread.start()
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    client = EtcdClient(DatastoreConfig(datastore_type="etcdv3", etcd_endpoints=url))
    client.gateway.put_if(f"{PREFIX}a", b"1", "")
    assert [kv.value for kv in client.gateway.range(PREFIX, prefix=True).kvs] == [b"1"]
    client.gateway.ask_ahead(PREFIX)
    assert [kv.value for kv in client.gateway.range(PREFIX, prefix=True).kvs] == [b"1"]
    assert [len(page.kvs) for page in client.gateway.pages(PREFIX, 1)] == [1]
    client.gateway.delete_prefix(PREFIX)
    client.close()
    listener.close()
    thread.join(5)


def _proxy(listener, url, manner):
    host, _, port = url.rpartition("//")[2].partition(":")
    while True:
        try:
            caller, _ = listener.accept()
        except OSError:
            return
        if caller.recv(4, socket.MSG_PEEK) == b"PRI ":
            if manner == "refuses":
                caller.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
            elif manner == "talks nonsense":
                caller.sendall(bytes(range(256)) * 200)
            if manner != "refuses":
                caller.close()
            continue
        server = socket.create_connection((host, int(port)))
        for source, sink in ((caller, server), (server, caller)):
            threading.Thread(target=_pump, args=(source, sink), daemon=True).start()


def _pump(source, sink):
    try:
        while data := source.recv(65536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        return


@given(st.binary(max_size=60))
@example(b"\x12\xff\xff\xff\xff\xff\xff\xff\xff\x7f")
@example(b"\x12\x02\x0a\x7f")
def test_a_message_of_any_bytes_is_an_answer_or_none(content):
    framed = b"\0" + len(content).to_bytes(4, "big") + content
    for data in (content, framed, framed[:-1]):
        found = grpc._message(data)
        assert found is None or isinstance(found, RangeAnswer)
