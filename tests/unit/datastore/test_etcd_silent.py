"""A server that accepts and then stays silent: given up on after one timeout, not after one for each try."""

import socket
import time

import pytest

from pycalico.datastore.config import DatastoreConfig
from pycalico.datastore.errors import Unavailable
from pycalico.datastore.etcd.gateway import Gateway

READ_S = 0.3


@pytest.fixture
def silent():
    listener = socket.create_server(("127.0.0.1", 0))
    yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    listener.close()


@pytest.mark.parametrize("ahead", [False, True])
def test_one_silent_endpoint_takes_one_timeout(silent, ahead):
    gateway = Gateway(DatastoreConfig(datastore_type="etcdv3", etcd_endpoints=silent), read_s=READ_S)
    started = time.monotonic()
    if ahead:
        gateway.ask_ahead("/calico/")
    with pytest.raises(Unavailable, match=f"cannot reach etcd at {silent}: timed out"):
        gateway.range("/calico/", prefix=True)
    assert READ_S <= time.monotonic() - started < 2 * READ_S


def test_each_of_several_silent_endpoints_is_tried_once(silent):
    both = f"{silent},{silent}"
    gateway = Gateway(DatastoreConfig(datastore_type="etcdv3", etcd_endpoints=both), read_s=READ_S)
    started = time.monotonic()
    with pytest.raises(Unavailable, match="timed out"):
        gateway.range("/calico/", prefix=True)
    assert 2 * READ_S <= time.monotonic() - started < 3 * READ_S
