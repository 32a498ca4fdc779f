import socket

import pytest

from pycalico.lab import frames, process


def pair():
    return socket.socketpair()


def test_frames_arrive_whole_and_in_order():
    left, right = pair()
    with left, right:
        frames.send(left, frames.OUTPUT, b"x" * 70000)
        frames.send(left, frames.EXIT, b"3")
        assert frames.receive(right) == (frames.OUTPUT, b"x" * 70000)
        assert frames.receive(right) == (frames.EXIT, b"3")
        left.close()
        assert frames.receive(right) is None


@pytest.mark.parametrize("data", [b"O\x00\x00", b"O\x00\x00\x00\x05ab", b"O\xff\xff\xff\xff"])
def test_a_torn_or_oversized_frame_is_an_error(data):
    left, right = pair()
    with right:
        with left:
            left.sendall(data)
        with pytest.raises(ConnectionError):
            frames.receive(right)


def test_a_request_survives_the_wire():
    request = frames.Request(["a", "b"], "/run/x", "k8s-m", {"K": "v"}, None)
    assert frames.Request.decode(request.encode()) == request


def test_a_process_is_known_by_its_start_too():
    import os

    mark = process.identity(os.getpid())
    assert process.pid_of(mark) == os.getpid()
    assert process.pid_of(f"{os.getpid()}:1") is None
    assert process.pid_of("") is None
    assert process.pid_of("999999999:5") is None
