"""BGP messages, decoded (RFC 4271, 2918, 4456, 4486, 4724, 4760, 5492, 6793, 7911, 8092, 8203, 8654).

Pure, and made for bytes that anybody may have sent: every read is within bounds, and what cannot be read becomes a
Malformed with the reason. ``Session`` carries what the two OPENs agreed on, since it changes the form of UPDATEs.
"""

from __future__ import annotations

import ipaddress

import msgspec

from pycalico.bgp import wirenames as names

MARKER = b"\xff" * 16
HEADER = 19
LONGEST = 4096
#: With the capability Extended Message (RFC 8654).
LONGEST_EXTENDED = 65535
_AS_TRANS = 23456


class Truncated(Exception):
    """A field reaches beyond what holds it; one line."""


class Message(msgspec.Struct, frozen=True, tag=True):
    pass


class Capability(msgspec.Struct, frozen=True):
    """``text`` is the value, made readable; "" where there is none."""

    code: int
    name: str
    text: str = ""


class Open(Message, frozen=True, tag="OPEN"):
    version: int
    as_number: int
    hold_time_s: int
    router_id: str
    capabilities: tuple[Capability, ...]
    four_byte_as: bool
    extended_messages: bool
    #: Families ("1/1": IPv4 unicast) that the sender wants to send, and to receive, with path identifiers.
    add_path_send: frozenset[str] = frozenset()
    add_path_receive: frozenset[str] = frozenset()


class Attribute(msgspec.Struct, frozen=True):
    code: int
    name: str
    text: str


class Update(Message, frozen=True, tag="UPDATE"):
    """Prefixes are ``10.0.0.0/8``, with `` (path 3)`` where the session has path identifiers.

    ``end_of_rib``: the family whose routes are complete now, such as ``IPv4 unicast``; "" otherwise.
    """

    withdrawn: tuple[str, ...] = ()
    announced: tuple[str, ...] = ()
    attributes: tuple[Attribute, ...] = ()
    end_of_rib: str = ""


class Notification(Message, frozen=True, tag="NOTIFICATION"):
    """``meaning`` names code and subcode; ``text`` is what the sender says beside it, if it is readable."""

    code: int
    subcode: int
    meaning: str
    text: str = ""


class Keepalive(Message, frozen=True, tag="KEEPALIVE"):
    pass


class RouteRefresh(Message, frozen=True, tag="ROUTE-REFRESH"):
    family: str
    kind: str


class Malformed(Message, frozen=True, tag="MALFORMED"):
    reason: str


class Session(msgspec.Struct):
    """What one direction's UPDATEs look like. None: the OPENs were not seen; then the bytes are to tell."""

    four_byte_as: bool | None = None
    add_path: frozenset[str] | None = None


class _Bytes:
    """A cursor over bytes. Raises Truncated."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def __len__(self) -> int:
        return len(self._data) - self._at

    def take(self, count: int, what: str) -> bytes:
        if count > len(self):
            raise Truncated(f"{what} wants {count} bytes where {len(self)} are left")
        self._at += count
        return self._data[self._at - count : self._at]

    def number(self, count: int, what: str) -> int:
        return int.from_bytes(self.take(count, what), "big")

    def part(self, count: int, what: str) -> _Bytes:
        return _Bytes(self.take(count, what))


def decode(message: bytes, session: Session | None = None) -> Message:
    """One whole message, header included; never raises."""
    if len(message) < HEADER or message[:16] != MARKER:
        return Malformed("no BGP header")
    if int.from_bytes(message[16:18], "big") != len(message):
        return Malformed("its length is not what the header says")
    body = _Bytes(message[HEADER:])
    try:
        match message[18]:
            case 1:
                return _open(body)
            case 2:
                return _update(body, session or Session())
            case 3:
                return _notification(body)
            case 4:
                return Malformed("a KEEPALIVE with a body") if len(body) else Keepalive()
            case 5:
                family = _family(body)
                kind = names.REFRESH.get(message[HEADER + 2], "unknown") if len(message) > HEADER + 2 else ""
                return RouteRefresh(family, kind)
            case other:
                return Malformed(f"unknown message type {other}")
    except Truncated as error:
        return Malformed(str(error))


def agreed(sender: Open | None, receiver: Open | None) -> Session:
    """What ``sender``'s UPDATEs look like."""
    if sender is None or receiver is None:
        return Session()
    return Session(
        sender.four_byte_as and receiver.four_byte_as, sender.add_path_send & receiver.add_path_receive
    )


def _open(body: _Bytes) -> Open:
    version = body.number(1, "the version")
    as_number = body.number(2, "the AS number")
    hold_s = body.number(2, "the hold time")
    router_id = str(ipaddress.IPv4Address(body.take(4, "the router id")))
    parameters = body.part(body.number(1, "the length of parameters"), "parameters")
    found: list[Capability] = []
    real_as = 0
    send: set[str] = set()
    receive: set[str] = set()
    while len(parameters):
        kind = parameters.number(1, "a parameter")
        parameter = parameters.part(parameters.number(1, "a parameter's length"), "a parameter")
        if kind != 2:  # RFC 5492: capabilities; there is no other in use
            continue
        while len(parameter):
            code = parameter.number(1, "a capability")
            value = parameter.take(parameter.number(1, "a capability's length"), "a capability")
            found.append(
                Capability(code, names.CAPABILITIES.get(code, f"capability {code}"), _value(code, value))
            )
            if code == 65 and len(value) == 4:
                real_as = int.from_bytes(value, "big")
            if code == 69:
                for at in range(0, len(value) - 3, 4):
                    family = f"{int.from_bytes(value[at : at + 2], 'big')}/{value[at + 2]}"
                    if value[at + 3] & 2:
                        send.add(family)
                    if value[at + 3] & 1:
                        receive.add(family)
    return Open(
        version=version,
        as_number=real_as or as_number,
        hold_time_s=hold_s,
        router_id=router_id,
        capabilities=tuple(found),
        four_byte_as=any(capability.code == 65 for capability in found),
        extended_messages=any(capability.code == 6 for capability in found),
        add_path_send=frozenset(send),
        add_path_receive=frozenset(receive),
    )  # fmt: skip


def _value(code: int, value: bytes) -> str:
    body = _Bytes(value)
    try:
        match code:
            case 1:
                afi = body.number(2, "family")
                body.take(1, "family")
                return names.family(afi, body.number(1, "family"))
            case 64:
                word = body.number(2, "restart time")
                said = [f"{word & 0xFFF} s"] + (["restarting"] if word & 0x8000 else [])
                while len(body):
                    text = names.family(body.number(2, "family"), body.number(1, "family"))
                    said.append(text + (" kept" if body.number(1, "flags") & 0x80 else ""))
                return ", ".join(said)
            case 65:
                return str(body.number(4, "AS number"))
            case 69:
                said = []
                while len(body):
                    text = names.family(body.number(2, "family"), body.number(1, "family"))
                    said.append(f"{text} {names.ADD_PATH.get(body.number(1, 'way'), '?')}")
                return ", ".join(said)
            case _:
                return value[:32].hex()
    except Truncated:
        return f"malformed {value[:32].hex()}"


def _update(body: _Bytes, session: Session) -> Update:
    withdrawn = body.part(body.number(2, "the length of withdrawn routes"), "withdrawn routes")
    attributes = body.part(body.number(2, "the length of attributes"), "attributes")
    paths = session.add_path
    gone = list(_prefixes(withdrawn, 4, _has_paths(paths, "1/1")))
    empty = not len(withdrawn) and not len(attributes) and not len(body) and not gone
    announced = list(_prefixes(body, 4, _has_paths(paths, "1/1")))
    found: list[Attribute] = []
    ended = "IPv4 unicast" if empty else ""
    while len(attributes):
        flags = attributes.number(1, "an attribute's flags")
        code = attributes.number(1, "an attribute's type")
        length = attributes.number(2 if flags & 0x10 else 1, "an attribute's length")
        value = attributes.part(length, f"attribute {names.ATTRIBUTES.get(code, code)}")
        if code in (14, 15):
            text, prefixes, family = _multiprotocol(value, code == 14, session)
            (announced if code == 14 else gone).extend(prefixes)
            if code == 15 and not prefixes and length == 3:
                ended = family
        else:
            text = _attribute(code, value, session)
        found.append(Attribute(code, names.ATTRIBUTES.get(code, f"attribute {code}"), text))
    return Update(tuple(gone), tuple(announced), tuple(found), ended)


def _has_paths(agreed_on: frozenset[str] | None, family: str) -> bool | None:
    return None if agreed_on is None else family in agreed_on


def _prefixes(body: _Bytes, family: int, with_paths: bool | None) -> list[str]:
    data = body.take(len(body), "prefixes")
    if with_paths is not None:
        return _read_prefixes(data, family, with_paths=with_paths)
    try:
        plain = _read_prefixes(data, family, with_paths=False)
        # Path identifiers are small numbers: read as prefixes they are default routes, again and again.
        if sum(prefix.endswith("/0") for prefix in plain) < 2:
            return plain
    except Truncated:
        plain = []
    try:
        return _read_prefixes(data, family, with_paths=True)
    except Truncated:
        if plain:
            return plain
        raise


def _read_prefixes(data: bytes, family: int, *, with_paths: bool) -> list[str]:
    body = _Bytes(data)
    size = 4 if family == 4 else 16
    found = []
    while len(body):
        path = body.number(4, "a path identifier") if with_paths else 0
        bits = body.number(1, "a prefix's length")
        if bits > size * 8:
            raise Truncated(f"a prefix of {bits} bits")
        raw = body.take((bits + 7) // 8, "a prefix").ljust(size, b"\0")
        network = ipaddress.ip_network((raw, bits), strict=False)
        found.append(f"{network} (path {path})" if with_paths else str(network))
    return found


def _multiprotocol(body: _Bytes, reachable: bool, session: Session) -> tuple[str, list[str], str]:
    afi, safi = body.number(2, "the family"), body.number(1, "the family")
    name = names.family(afi, safi)
    text = name
    if reachable:
        hop = body.take(body.number(1, "the next hop's length"), "the next hop")
        body.take(1, "a reserved byte")
        text += f", next hop {_next_hop(hop)}"
    if afi not in (1, 2) or safi not in (1, 2):
        return f"{text}, {len(body)} bytes", [], name
    with_paths = _has_paths(session.add_path, f"{afi}/{safi}")
    return text, _prefixes(body, 4 if afi == 1 else 6, with_paths), name


def _next_hop(raw: bytes) -> str:
    if len(raw) in (4, 16):
        return str(ipaddress.ip_address(raw))
    if len(raw) == 32:
        return f"{ipaddress.ip_address(raw[:16])} and {ipaddress.ip_address(raw[16:])}"
    return raw.hex()


def _attribute(code: int, body: _Bytes, session: Session) -> str:
    match code:
        case 1:
            return names.ORIGINS.get(body.number(1, "ORIGIN"), "unknown")
        case 2:
            return _as_path(body, session.four_byte_as)
        case 17:
            return _as_path(body, four_bytes=True)
        case 3 | 9:
            return str(ipaddress.IPv4Address(body.take(4, names.ATTRIBUTES[code])))
        case 4 | 5:
            return str(body.number(4, names.ATTRIBUTES[code]))
        case 6:
            return ""
        case 7 | 18:
            number = body.number(len(body) - 4 if len(body) > 4 else 2, "AGGREGATOR")
            return f"AS {number} at {ipaddress.IPv4Address(body.take(4, 'AGGREGATOR'))}"
        case 8:
            return _communities(body)
        case 10:
            return " ".join(
                str(ipaddress.IPv4Address(body.take(4, "CLUSTER_LIST"))) for _ in range(len(body) // 4)
            )
        case 32:
            return " ".join(
                ":".join(str(body.number(4, "LARGE_COMMUNITY")) for _ in range(3))
                for _ in range(len(body) // 12)
            )
        case _:
            return body.take(len(body), "an attribute")[:64].hex()  # fmt: skip


def _communities(body: _Bytes) -> str:
    found = []
    while len(body):
        number = body.number(4, "COMMUNITY")
        found.append(names.COMMUNITIES.get(number, f"{number >> 16}:{number & 0xFFFF}"))
    return " ".join(found)


def _as_path(body: _Bytes, four_bytes: bool | None) -> str:
    """``64512 64513``, a set in braces, "" when empty. Unknown width: four bytes if that fits to the end."""
    data = body.take(len(body), "AS_PATH")
    if four_bytes is None:
        try:
            return _read_as_path(data, 4)
        except Truncated:
            return _read_as_path(data, 2)
    return _read_as_path(data, 4 if four_bytes else 2)


def _read_as_path(data: bytes, width: int) -> str:
    body = _Bytes(data)
    found = []
    while len(body):
        kind = body.number(1, "AS_PATH")
        if kind not in (1, 2, 3, 4):
            raise Truncated(f"an AS_PATH segment of kind {kind}")
        count = body.number(1, "AS_PATH")
        text = " ".join(str(body.number(width, "AS_PATH")) for _ in range(count))
        found.append({1: f"{{{text}}}", 2: text, 3: f"({text})", 4: f"[{text}]"}[kind])
    return " ".join(found)


def _notification(body: _Bytes) -> Notification:
    code, subcode = body.number(1, "the code"), body.number(1, "the subcode")
    data = body.take(len(body), "data")
    text = ""
    if (code, subcode) in ((6, 2), (6, 4)) and data and data[0] <= len(data) - 1:
        said = data[1 : 1 + data[0]].decode(errors="replace")
        text = "".join(char if char.isprintable() else "?" for char in said)
    elif (code, subcode) == (2, 2) and len(data) in (2, 4):
        number = int.from_bytes(data, "big")
        text = f"AS {number}" + (" (more than 16 bits)" if number == _AS_TRANS else "")
    elif data:
        text = data[:32].hex()
    return Notification(code, subcode, names.notification(code, subcode), text)


def _family(body: _Bytes) -> str:
    afi = body.number(2, "the family")
    body.take(1, "a reserved byte")
    return names.family(afi, body.number(1, "the family"))
