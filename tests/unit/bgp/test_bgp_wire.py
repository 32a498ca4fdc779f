import ipaddress

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pycalico.bgp import wire
from pycalico.bgp.wire import Keepalive, Malformed, Notification, Open, RouteRefresh, Session, Update


def message(kind, body=b""):
    return wire.MARKER + (wire.HEADER + len(body)).to_bytes(2, "big") + bytes([kind]) + body


def open_message(as_number=64512, *capabilities):
    options = b"".join(bytes([2, len(value) + 2, code, len(value)]) + value for code, value in capabilities)
    body = bytes([4]) + min(as_number, 23456 if as_number > 65535 else as_number).to_bytes(2, "big")
    body += (240).to_bytes(2, "big") + bytes([10, 0, 0, 1, len(options)]) + options
    return message(1, body)


AS4 = (65, (4200000001).to_bytes(4, "big"))
ADD_PATH = (69, bytes([0, 1, 1, 3]))


def test_open_tells_what_it_offers():
    found = wire.decode(
        open_message(
            4200000001, (1, bytes([0, 1, 0, 1])), (2, b""), (64, bytes([0x80, 120, 0, 1, 1, 0x80])), AS4, ADD_PATH,
            (70, b""), (99, b"ab"),
        )
    )  # fmt: skip
    assert isinstance(found, Open)
    assert (found.version, found.as_number, found.hold_time_s, found.router_id) == (
        4,
        4200000001,
        240,
        "10.0.0.1",
    )
    assert [f"{c.name}: {c.text}" if c.text else c.name for c in found.capabilities] == [
        "multiprotocol: IPv4 unicast",
        "route refresh",
        "graceful restart: 120 s, restarting, IPv4 unicast kept",
        "four-octet AS: 4200000001",
        "add path: IPv4 unicast send and receive",
        "enhanced route refresh",
        "capability 99: 6162",
    ]
    assert found.add_path_send == found.add_path_receive == {"1/1"}


def attribute(code, value, flags=0x40):
    return bytes([flags, code, len(value)]) + value


def update(withdrawn=b"", attributes=b"", announced=b""):
    return message(
        2,
        len(withdrawn).to_bytes(2, "big")
        + withdrawn
        + len(attributes).to_bytes(2, "big")
        + attributes
        + announced,
    )


PLAIN = b"".join([
    attribute(1, b"\0"), attribute(2, bytes([2, 2, 0xFC, 0, 0xFC, 1])), attribute(3, bytes([10, 0, 0, 1])),
    attribute(4, (7).to_bytes(4, "big"), 0x80), attribute(5, (100).to_bytes(4, "big")),
    attribute(8, bytes([0xFC, 0, 0, 100, 0xFF, 0xFF, 0xFF, 1]), 0xC0),
    attribute(9, bytes([10, 0, 0, 9]), 0x80), attribute(10, bytes([1, 0, 0, 1, 1, 0, 0, 2]), 0x80),
    attribute(32, bytes(11) + b"\1", 0xC0), attribute(77, b"\xca\xfe", 0xC0),
])  # fmt: skip


def test_update_with_two_byte_numbers():
    found = wire.decode(
        update(bytes([8, 11]), PLAIN, bytes([24, 172, 16, 1, 0])), Session(False, frozenset())
    )
    assert isinstance(found, Update)
    assert (found.withdrawn, found.announced) == (("11.0.0.0/8",), ("172.16.1.0/24", "0.0.0.0/0"))
    assert {item.name: item.text for item in found.attributes} == {
        "origin": "IGP",
        "AS path": "64512 64513",
        "next hop": "10.0.0.1",
        "MED": "7",
        "local pref": "100",
        "communities": "64512:100 no-export",
        "originator": "10.0.0.9",
        "cluster list": "1.0.0.1 1.0.0.2",
        "large communities": "0:0:1",
        "attribute 77": "cafe",
    }


PATHS = bytes([0, 0, 0, 1, 24, 172, 16, 1, 0, 0, 0, 2, 24, 172, 16, 2])


@pytest.mark.parametrize("session", [Session(True, frozenset({"1/1"})), Session()], ids=["agreed", "guessed"])
def test_update_with_path_identifiers(session):
    path = attribute(2, bytes([2, 1]) + (4200000001).to_bytes(4, "big"))
    found = wire.decode(update(b"", path, PATHS), session)
    assert found.announced == ("172.16.1.0/24 (path 1)", "172.16.2.0/24 (path 2)")
    assert found.attributes[0].text == "4200000001"


def test_ipv6_routes_and_their_end():
    hop = ipaddress.ip_address("fd00::1").packed
    reach = attribute(
        14, bytes([0, 2, 1, 16]) + hop + bytes([0, 64]) + bytes.fromhex("fd160001") + bytes(4), 0x80
    )
    found = wire.decode(update(b"", reach), Session(True, frozenset()))
    assert found.announced == ("fd16:1::/64",)
    assert found.attributes[0].text == "IPv6 unicast, next hop fd00::1"
    gone = attribute(15, bytes([0, 2, 1, 64]) + bytes.fromhex("fd160001") + bytes(4), 0x80)
    assert wire.decode(update(b"", gone), Session(True, frozenset())).withdrawn == ("fd16:1::/64",)
    assert wire.decode(update(b"", attribute(15, bytes([0, 2, 1]), 0x80))).end_of_rib == "IPv6 unicast"
    assert wire.decode(update()).end_of_rib == "IPv4 unicast"


def test_notifications_say_what_they_mean():
    found = wire.decode(message(3, bytes([6, 2, 4]) + b"bye\n"))
    assert found == Notification(6, 2, "Cease: administrative shutdown", "bye?")
    assert wire.decode(message(3, bytes([2, 2, 0xFC, 1]))).meaning == "OPEN error: bad peer AS"
    assert wire.decode(message(3, bytes([2, 2, 0xFC, 1]))).text == "AS 64513"
    assert wire.decode(message(3, bytes([4, 0]))).meaning == "Hold timer expired"
    assert wire.decode(message(3, bytes([99, 5]))).meaning == "error 99: subcode 5"


def test_the_small_ones():
    assert wire.decode(message(4)) == Keepalive()
    assert wire.decode(message(5, bytes([0, 1, 0, 1]))) == RouteRefresh("IPv4 unicast", "")
    assert wire.decode(message(5, bytes([0, 2, 1, 1]))) == RouteRefresh("IPv6 unicast", "begin")


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"", "no BGP header"),
        (b"\0" * 19, "no BGP header"),
        (message(9), "unknown message type 9"),
        (message(4, b"x"), "a KEEPALIVE with a body"),
        (message(2, b"\xff\xff"), "withdrawn routes wants 65535 bytes where 0 are left"),
        (update(b"", bytes([0x40, 2, 200])), "attribute AS path wants 200 bytes where 0 are left"),
        (message(1, bytes([4])), "the AS number wants 2 bytes where 0 are left"),
        (message(3, b"\6"), "the subcode wants 1 bytes where 0 are left"),
        (message(4)[:-1] + b"\4\4", "its length is not what the header says"),
    ],
)
def test_what_cannot_be_read_is_said(raw, reason):
    assert wire.decode(raw) == Malformed(reason)


def test_a_prefix_longer_than_an_address():
    found = wire.decode(update(b"", b"", bytes([33, 1, 2, 3, 4, 5])), Session(True, frozenset()))
    assert found == Malformed("a prefix of 33 bits")


sessions = st.sampled_from(
    [Session(), Session(True, frozenset({"1/1", "2/1"})), Session(False, frozenset()), None]
)


@given(kind=st.integers(0, 255), body=st.binary(max_size=200), session=sessions)
@example(1, open_message(1, (64, b"\0"))[19:], None)
@example(2, update(b"", attribute(14, b"\0\1\1\4"))[19:], None)
def test_no_bytes_upset_it(kind, body, session):
    found = wire.decode(message(kind, body), session)
    assert isinstance(found, wire.Message)


@given(data=st.data(), session=sessions)
def test_a_broken_message_is_no_worse(data, session):
    good = bytearray(
        data.draw(st.sampled_from([open_message(64512, AS4, ADD_PATH), update(PATHS, PLAIN, PATHS)]))
    )
    for at, value in data.draw(
        st.lists(st.tuples(st.integers(18, len(good) - 1), st.integers(0, 255)), max_size=4)
    ):
        good[at] = value
    assert isinstance(wire.decode(bytes(good), session), wire.Message)
