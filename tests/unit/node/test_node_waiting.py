import struct

import pytest

from pycalico.node import waiting

NEW_ADDRESS = 20


def message(scope, length=None):
    body = struct.pack("=BBBBI", 10, 64, 0, scope, 7) + b"\0" * 13
    return struct.pack("=IHHII", length or 16 + len(body), NEW_ADDRESS, 0, 0, 0) + body + b"\0" * 3


@pytest.mark.parametrize(
    ("announced", "matters"),
    [
        (b"", False),
        (message(253), False),
        (message(253) + message(253), False),
        (message(0), True),
        (message(200), True),
        (message(253) + message(0), True),
        (message(253)[:18], True),
        (message(253, length=3), True),
    ],
)
def test_addresses_of_a_link_alone_are_no_news(announced, matters):
    assert waiting._matters(announced) == matters
