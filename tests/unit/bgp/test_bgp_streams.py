import contextlib
import random
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_bgp_wire import ADD_PATH, AS4, PATHS, PLAIN, attribute, message, open_message, update

from pycalico.bgp import packets, watch
from pycalico.bgp.packets import BadCapture, Segment
from pycalico.bgp.streams import Heard, Listener
from pycalico.bgp.wire import Keepalive, Malformed, Open, Update

A, B = ("10.0.0.1", 40000), ("10.0.0.2", 179)
OPENS = open_message(4200000001, AS4, ADD_PATH)
UPDATE = update(b"", attribute(2, bytes([2, 1]) + (65001).to_bytes(4, "big")), PATHS)


def segments(data, size=50, first=1000, source=A, destination=B):
    yield Segment(source, destination, first, syn=True, ends=False, payload=b"")
    for at in range(0, len(data), size):
        yield Segment(source, destination, (first + 1 + at) % 2**32, False, False, data[at : at + size])


def hear(*batches):
    listener = Listener()
    return [item for batch in batches for found in batch for item in listener.hear(1.0, found)]


def kinds(heard):
    return [type(item.message) for item in heard]


def test_messages_cut_in_pieces_and_what_the_opens_agreed_on():
    heard = hear(segments(OPENS, source=B, destination=A), segments(OPENS + message(4) + UPDATE, 7))
    assert kinds(heard) == [Open, Open, Keepalive, Update]
    assert heard[-1].message.announced == ("172.16.1.0/24 (path 1)", "172.16.2.0/24 (path 2)")
    assert heard[-1].message.attributes[0].text == "65001"


@given(seed=st.integers(0, 1000), first=st.sampled_from([1000, 2**32 - 60]))
def test_disorder_and_repetition_change_nothing(seed, first):
    data = OPENS + message(4) * 3 + UPDATE
    opening, *rest = segments(data, 33, first)
    rest += rest[::3]
    random.Random(seed).shuffle(rest)
    assert kinds(hear([opening, *rest])) == [Open, Keepalive, Keepalive, Keepalive, Update]


def test_in_the_middle_of_a_session():
    data = UPDATE[20:] + message(4) + UPDATE
    assert kinds(hear([Segment(A, B, 5, False, False, data)])) == [Keepalive, Update]


def test_a_hole_in_the_capture_costs_the_messages_in_it():
    opening, *rest = segments(message(4) * 600, 19)
    del rest[3]
    heard = hear([opening, *rest])
    assert kinds(heard).count(Keepalive) > 590
    assert Malformed not in kinds(heard)


def test_garbage_is_passed_over():
    heard = hear(segments(b"GET / HTTP/1.0\r\n\r\n" * 3 + message(4)))
    assert kinds(heard)[0] is Malformed
    assert kinds(heard)[-1] is Keepalive


def test_other_ports_are_not_bgp():
    assert not hear(segments(OPENS, source=("10.0.0.1", 1), destination=("10.0.0.2", 2)))


@given(
    st.lists(
        st.tuples(st.integers(0, 2**32 - 1), st.booleans(), st.booleans(), st.binary(max_size=80)),
        max_size=20,
    )
)
def test_no_segments_upset_it(parts):
    for heard in hear([Segment(A, B, *part) for part in parts]):
        assert watch.as_lines(heard)
        assert watch.as_json(heard)


def ipv4(payload, protocol=6):
    header = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 20 + len(payload), 0, 0, 64, protocol, 0,
                         bytes([10, 0, 0, 1]), bytes([10, 0, 0, 2]))  # fmt: skip
    return header + payload


def tcp(payload, flags=0x18):
    return struct.pack(">HHIIBBHHH", 40000, 179, 7, 0, 0x50, flags, 0, 0, 0) + payload


def ipv6(payload, kind=6):
    addresses = bytes.fromhex("fd00" + "00" * 13 + "01" + "fd00" + "00" * 13 + "02")
    return struct.pack(">IHBB", 0x60000000, len(payload), kind, 64) + addresses + payload


@pytest.mark.parametrize(
    ("link", "packet"),
    [
        (packets.RAW, ipv4(tcp(b"hi"))),
        (packets.ETHERNET, bytes(12) + b"\x08\x00" + ipv4(tcp(b"hi")) + bytes(6)),
        (packets.ETHERNET, bytes(12) + b"\x81\x00\0\1\x08\x00" + ipv4(tcp(b"hi"))),
        (packets.COOKED, bytes(16) + ipv4(tcp(b"hi"))),
        (packets.COOKED_2, bytes(20) + ipv4(tcp(b"hi"))),
        (packets.NULL, bytes(4) + ipv4(tcp(b"hi"))),
        (packets.RAW, ipv4(ipv4(tcp(b"hi")), 4)),
        (packets.RAW, ipv6(tcp(b"hi"))),
        (packets.RAW, ipv6(bytes([6, 0, 0, 0, 0, 0, 0, 0]) + tcp(b"hi"), 0)),
    ],
)
def test_what_lies_around_a_segment(link, packet):
    found = packets.segment(packet, link)
    assert found.payload == b"hi"
    assert (found.source[1], found.destination[1], found.sequence) == (40000, 179, 7)


@given(st.binary(max_size=120), st.sampled_from([0, 1, 101, 113, 276, 999]))
def test_no_packet_upsets_it(data, link):
    packets.segment(data, link)
    packets.segment(b"\x45" + data, 101)
    packets.segment(b"\x60" + data, 101)


PCAP = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 101)


def test_captures(tmp_path):
    first = ipv4(tcp(OPENS))
    path = tmp_path / "a.pcap"
    path.write_bytes(PCAP + struct.pack("<IIII", 5, 250000, len(first), len(first)) + first)
    [heard] = watch.from_file(path, frozenset({179}))
    assert isinstance(heard, Heard)
    assert heard.at_s == 5.25
    assert watch.as_lines(heard)[0].endswith(
        "10.0.0.1 > 10.0.0.2 OPEN AS 4200000001, hold time 240 s, router id 10.0.0.1"
    )
    section = struct.pack("<IIIHHq", 0x0A0D0D0A, 28, 0x1A2B3C4D, 1, 0, -1) + struct.pack("<I", 28)
    interface = struct.pack("<IIHHIHHBxxxI", 1, 32, 101, 0, 0, 9, 1, 9, 0) + struct.pack("<I", 32)
    padded = first + bytes(-len(first) % 4)
    length = 32 + len(padded)
    packet = struct.pack("<IIIIIII", 6, length, 0, 1, 705032704, len(first), len(first)) + padded
    path.write_bytes(section + interface + packet + struct.pack("<I", length))
    [heard] = watch.from_file(path, frozenset({179}))
    assert heard.at_s == pytest.approx(5.0)


@pytest.mark.parametrize(
    "data", [b"", b"nonsense", PCAP[:10], PCAP + b"\1", PCAP + struct.pack("<IIII", 0, 0, 99, 99)]
)
def test_files_that_are_no_captures(data, tmp_path):
    with pytest.raises(BadCapture):
        list(packets.read_capture(data)) or pytest.fail("empty")


@given(st.binary(max_size=200), st.sampled_from([PCAP, b"\x0a\x0d\x0d\x0a", PCAP[::-1]]))
def test_no_file_upsets_it(data, start):
    with contextlib.suppress(BadCapture):
        list(packets.read_capture(start + data))


def test_lines_of_an_update():
    [heard] = hear([Segment(A, B, 1, False, False, update(bytes([8, 11]), PLAIN, bytes([24, 172, 16, 1])))])
    lines = watch.as_lines(heard)
    assert lines[0].endswith("UPDATE 1 announced, 1 withdrawn")
    assert lines[1:3] == ["    + 172.16.1.0/24", "    - 11.0.0.0/8"]
    assert "next hop 10.0.0.1; MED 7; local pref 100" in lines[3]
