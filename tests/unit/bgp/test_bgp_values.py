import pytest

from pycalico.bgp import values


@pytest.mark.parametrize(
    ("given", "number"),
    [
        (64512, 64512),
        ("64512", 64512),
        ("1.10", 65546),
        (0, None),
        ("abc", None),
        ("65536.1", None),
        (2**32, None),
        ("", None),
        (None, None),
        ("-1", None),
        ("٣", None),
    ],
)
def test_as_number(given, number):
    assert values.as_number(given) == number


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("10s", 10),
        ("1m30s", 90),
        ("250ms", 0.25),
        ("0", 0),
        ("1.5h", 5400),
        ("10", None),
        ("", None),
        ("-1s", None),
        ("1s2", None),
    ],
)
def test_duration(text, seconds):
    assert values.duration_s(text) == seconds


@pytest.mark.parametrize(
    ("name", "router_id"),
    [("n1", "103.107.139.184"), ("Testrobin123", "207.94.5.27"), ("nodeTest", "109.174.215.226")],
)
def test_hashed_router_id(name, router_id):
    assert values.hashed_router_id(name) == router_id


@pytest.mark.parametrize("text", ["a\u2028b", "\ud800", 'a"b', "a\\b", "a\nb", "", "x" * 81, "ä" * 41])
def test_passwords_that_bird_cannot_hold(text):
    assert values.password(text) is None


def test_communities():
    assert values.community("100:6532") == (100, 6532)
    assert values.community("100:555:107") == (100, 555, 107)
    assert values.community("65536:1") is None
    assert values.community("1:2:3:4") is None
    assert values.community("named") is None


def test_addresses_with_zones_are_refused():
    assert values.address("fe80::1%eth0") is None
    assert values.interface_address("fe80::1%eth0/64") is None
    assert values.network('10.0.0.0/8"') is None
