"""From a rule's text, as `dataplane.rules` spells it, to nf_tables expressions.

The text is iptables' language cut down to what `rules.match` and `rules.action` can say; whatever else is found is
refused. Pure.
"""

from __future__ import annotations

import hashlib
import ipaddress
import re
import socket
import struct
from collections.abc import Callable, Iterator
from functools import lru_cache

import msgspec

from pycalico.kernel import nftables
from pycalico.kernel import nftexpr as x
from pycalico.kernel.nftables import SetKey

#: Part of each rule's identifier: a new way to compile must not look like what an older one left.
_VERSION = "1"
_COMMENT = re.compile(r'--comment "([^"]*)"')
_WORD = re.compile(r'"([^"]*)"|(\S+)')
PROTOCOLS = {"tcp": 6, "udp": 17, "icmp": 1, "icmpv6": 58, "sctp": 132, "udplite": 136}
_COMMENT_MOST = 127
_WILDCARD = "+"
_ADDRESS_OFFSET = {(4, "src"): 12, (4, "dst"): 16, (6, "src"): 8, (6, "dst"): 24}
_PORT_OFFSET = {"src": 0, "dst": 2}


class AnonymousSet(msgspec.Struct, frozen=True):
    """A set of the rule's own; the lookup of it is made when its number within the transaction is known."""

    key: SetKey
    elements: tuple[bytes, ...]
    negated: bool


class Compiled(msgspec.Struct, frozen=True):
    """``parts``: expressions in order, sets where the lookup of one stands. ``comment`` is what operators see."""

    parts: tuple[bytes | AnonymousSet, ...]
    comment: str


class CompileError(ValueError):
    """A text that is not of the language; the message quotes the word."""


def rule_id(text: str) -> str:
    """Sixteen characters that stand for the text; unlike iptables' ones they do not depend on the rules before."""
    return hashlib.sha224(f"{_VERSION} {text}".encode()).hexdigest()[:16]


def notes_of(text: str) -> str:
    """What the rule's comments say."""
    return " ".join(_COMMENT.findall(text))


def ip_set_name(name: str) -> str:
    """As upstream's v3.29 names it: nft's language has no colon in names."""
    return name.replace(":", "-")


@lru_cache(maxsize=1024)
def compile_rule(family: int, table: str, text: str) -> Compiled:
    """``table`` is iptables' name of the place that the rule is for. Raises CompileError."""
    state = _Compiler(family, table)
    words = [quoted or plain for quoted, plain in _WORD.findall(text)]
    state.take(words)
    notes = " ".join(state.notes)
    comment = f"cali:{rule_id(text)}; {notes}" if notes else f"cali:{rule_id(text)}"
    return Compiled(state.parts(), comment[:_COMMENT_MOST])


def _mark(text: str) -> tuple[int, int]:
    value, _, mask = text.partition("/")
    return int(value, 16), int(mask, 16)


def _host_number(value: int) -> bytes:
    return struct.pack("=I", value)


class _Compiler:
    """Reads words from left to right; ``!`` holds for the option behind it."""

    def __init__(self, family: int, table: str) -> None:
        self.family = family
        self.table = table
        self.notes: list[str] = []
        self._matches: list[bytes | AnonymousSet] = []
        self._action: list[bytes] = []
        self._negated = False
        self._protocol: int | None = None
        self._port_mask = 0xFFFF
        self._words: Iterator[str] = iter(())

    def take(self, words: list[str]) -> None:
        self._words = iter(words)
        for word in self._words:
            if word == "!":
                self._negated = True
                continue
            handler = _HANDLERS.get(word)
            if handler is None:
                raise CompileError(f"{word!r} is not of the language of rules")
            handler(self)
            self._negated = self._negated and word == "-m"

    def parts(self) -> tuple[bytes | AnonymousSet, ...]:
        """Neighbouring expressions joined."""
        found: list[bytes | AnonymousSet] = []
        for part in (*self._matches, x.counter(), *self._action):
            last = found[-1] if found else None
            if isinstance(part, bytes) and isinstance(last, bytes):
                found[-1] = last + part
            else:
                found.append(part)
        return tuple(found)

    # ---- words

    def _next(self) -> str:
        word = next(self._words, None)
        if word is None:
            raise CompileError("the rule ends in the middle of an option")
        return word

    def _add(self, *parts: bytes | AnonymousSet) -> None:
        self._matches.extend(parts)

    @property
    def _operator(self) -> int:
        return x.NEQ if self._negated else x.EQ

    def module(self) -> None:
        """``-m name``: the options behind it say all. The negation may stand before its option."""
        name = self._next()
        if name == "rpfilter":
            for _ in ("--invert", "--validmark"):
                self._next()
            flags = x.FIB_SADDR | x.FIB_MARK | x.FIB_IIF
            self._add(x.fib(x.FIB_OIF, flags), x.compare(_host_number(0)))

    def comment(self) -> None:
        self.notes.append(self._next())

    def mark(self) -> None:
        value, mask = _mark(self._next())
        self._add(
            x.meta(x.MARK),
            x.bitwise(_host_number(mask), _host_number(0)),
            x.compare(_host_number(value & mask), self._operator),
        )

    def interface(self, key: int) -> None:
        name = self._next()
        if name.endswith(_WILDCARD):
            data = name[: -len(_WILDCARD)].encode()
        else:
            data = name.encode().ljust(16, b"\0")
        self._add(x.meta(key), x.compare(data, self._operator))

    def interface_map(self, key: int) -> None:
        self._add(x.meta(key))
        self._action.append(x.dispatch(f"{self.table}-{self._next().removeprefix('@')}"))

    def port_mask(self) -> None:
        """Of the map behind it."""
        self._port_mask = int(self._next(), 16)

    def port_map(self) -> None:
        port = x.register32(1)
        mask = struct.pack(">H", self._port_mask)
        self._add(
            x.meta(x.L4PROTO),
            x.payload(x.TRANSPORT_HEADER, _PORT_OFFSET["dst"], 2, port),
            x.bitwise(mask, bytes(2), port),
        )
        self._action.append(x.dispatch(f"{self.table}-{self._next().removeprefix('@')}"))

    def protocol(self) -> None:
        word = self._next()
        number = PROTOCOLS.get(word)
        number = int(word) if number is None else number
        if not self._negated:
            self._protocol = number
        self._add(x.meta(x.L4PROTO), x.compare(bytes([number]), self._operator))

    # ---- addresses, ports and sets

    def _load_address(self, side: str, register: int = x.REGISTER) -> bytes:
        length = 4 if self.family == 4 else 16
        return x.payload(x.NETWORK_HEADER, _ADDRESS_OFFSET[self.family, side], length, register)

    def net(self, side: str) -> None:
        nets = [ipaddress.ip_network(cidr, strict=False) for cidr in self._next().split(",")]
        self._add(self._load_address(side))
        if len(nets) == 1:
            whole = nets[0].max_prefixlen
            if nets[0].prefixlen < whole:
                self._add(x.bitwise(nets[0].netmask.packed, bytes(whole // 8)))
            self._add(x.compare(nets[0].network_address.packed, self._operator))
            return
        key = SetKey((nftables.IPV4 if self.family == 4 else nftables.IPV6,), interval=True)
        elements: list[bytes] = []
        for item in ipaddress.collapse_addresses(nets):  # type: ignore[type-var]
            elements += interval(item.network_address.packed, item.broadcast_address.packed)
        self._add(AnonymousSet(key, tuple(elements), self._negated))

    def ports(self, side: str) -> None:
        ranges = [item.partition(":") for item in self._next().split(",")]
        pairs = sorted((int(first), int(last or first)) for first, _, last in ranges)
        self._add(x.payload(x.TRANSPORT_HEADER, _PORT_OFFSET[side], 2))
        packed = [(struct.pack(">H", first), struct.pack(">H", last)) for first, last in _merged(pairs)]
        if len(packed) == 1:
            first, last = packed[0]
            if first == last:
                self._add(x.compare(first, self._operator))
            else:
                self._add(x.in_range(first, last, negated=self._negated))
            return
        ranged = any(first != last for first, last in packed)
        elements: list[bytes] = []
        for first, last in packed:
            elements += interval(first, last) if ranged else [nftables.element(first)]
        key = SetKey((nftables.SERVICE,), interval=ranged)
        self._add(AnonymousSet(key, tuple(elements), self._negated))

    def match_set(self) -> None:
        name, sides = ip_set_name(self._next()), self._next()
        side, _, port_side = sides.partition(",")
        self._add(self._load_address(side))
        if port_side:
            behind = 1 if self.family == 4 else 4
            self._add(
                x.meta(x.L4PROTO, x.register32(behind)),
                x.payload(x.TRANSPORT_HEADER, _PORT_OFFSET[port_side], 2, x.register32(behind + 1)),
            )
        self._add(x.lookup(name, negated=self._negated))

    def icmp(self, protocol: int) -> None:
        kind, _, code = self._next().partition("/")
        if self._protocol != protocol:
            self._add(x.meta(x.L4PROTO), x.compare(bytes([protocol])))
        data = bytes([int(kind), int(code)]) if code else bytes([int(kind)])
        self._add(x.payload(x.TRANSPORT_HEADER, 0, len(data)), x.compare(data, self._operator))

    # ---- what the kernel knows of the packet

    def conntrack(self) -> None:
        states = self._next()
        operator = x.EQ if self._negated else x.NEQ
        if states == "DNAT":
            # A packet without a connection has no status: neither this nor its negation holds for it.
            key, bits = x.CT_STATUS, x.STATUS_DNAT
        else:
            key, bits = x.CT_STATE, sum(_STATES[state] for state in states.split(","))
        self._add(
            x.conntrack(key),
            x.bitwise(_host_number(bits), _host_number(0)),
            x.compare(_host_number(0), operator),
        )

    def address_type(self, side: str) -> None:
        if self._next() != "LOCAL":
            raise CompileError("addrtype knows LOCAL only")
        self._fib = x.FIB_SADDR if side == "src" else x.FIB_DADDR
        self._add(x.fib(x.FIB_TYPE, self._fib), x.compare(_host_number(x.LOCAL), self._operator))

    def limit_interface_out(self) -> None:
        """Belongs to the address type before it, which is looked up for the leaving interface then."""
        self._matches[-2] = x.fib(x.FIB_TYPE, self._fib | x.FIB_OIF_FLAG)

    # ---- actions

    def jump(self, code: int) -> None:
        name = self._next()
        simple = _ACTIONS.get(name)
        if simple is not None:
            self._action.append(simple)
        elif name == "REJECT":
            # The kernel rejects in the filter hooks only.
            refused = x.reject_port_unreachable(self.family) if self.table == "filter" else x.verdict(x.DROP)
            self._action.append(refused)
        elif name == "MARK":
            self._next()
            self._action.append(self.set_mark(self._next()))
        elif name in _TARGETS:
            self._action.append(_TARGETS[name](self, dict(self._options())))
        else:
            self._action.append(x.verdict(code, f"{self.table}-{name}"))

    def _options(self) -> Iterator[tuple[str, str]]:
        for word in self._words:
            yield word, ("" if word == "--random-fully" else self._next())

    def set_mark(self, text: str) -> bytes:
        """Another action may stand behind it."""
        value, mask = _mark(text)
        kept = _host_number(~mask & 0xFFFFFFFF)
        return x.meta(x.MARK) + x.bitwise(kept, _host_number(value)) + x.meta_set(x.MARK)

    def log(self, options: dict[str, str]) -> bytes:
        return x.log(options["--log-prefix"], int(options["--log-level"]))

    def masquerade(self, options: dict[str, str]) -> bytes:
        return x.masquerade(_range(options.get("--to-ports", "")), fully_random="--random-fully" in options)

    def translate(self, kind: int, to: str, options: dict[str, str]) -> bytes:
        address, ports = to, ""
        if self.family == 4 or to.startswith("["):
            address, _, ports = to.rpartition(":") if ":" in to.rpartition("]")[2] else (to, "", "")
        number = socket.AF_INET if self.family == 4 else socket.AF_INET6
        packed = ipaddress.ip_address(address.strip("[]").partition("/")[0]).packed
        # nf_tables numbers families as sockets do.
        return x.translate(kind, number, packed, _range(ports), fully_random="--random-fully" in options)


def _range(text: str) -> tuple[int, int] | None:
    if not text:
        return None
    first, _, last = text.partition("-")
    return int(first), int(last or first)


def _merged(pairs: list[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Ranges that touch or overlap become one; ``pairs`` are in order."""
    current: tuple[int, int] | None = None
    for first, last in pairs:
        if current and first <= current[1] + 1:
            current = (current[0], max(current[1], last))
            continue
        if current:
            yield current
        current = (first, last)
    if current:
        yield current


def interval(first: bytes, last: bytes) -> list[bytes]:
    """Both ends as elements; one that reaches the last key there is has no end."""
    found = [nftables.element(first)]
    if last != b"\xff" * len(last):
        behind = (int.from_bytes(last, "big") + 1).to_bytes(len(last), "big")
        found.append(nftables.element(behind, ends=True))
    return found


_STATES = {
    "RELATED": x.STATE_RELATED,
    "ESTABLISHED": x.STATE_ESTABLISHED,
    "INVALID": x.STATE_INVALID,
    "UNTRACKED": x.STATE_UNTRACKED,
}
_ACTIONS = {
    "ACCEPT": x.verdict(x.ACCEPT),
    "DROP": x.verdict(x.DROP),
    "RETURN": x.verdict(x.RETURN),
    "NOTRACK": x.notrack(),
}
_TARGETS: dict[str, Callable[[_Compiler, dict[str, str]], bytes]] = {
    "LOG": _Compiler.log,
    "MASQUERADE": _Compiler.masquerade,
    "SNAT": lambda c, options: c.translate(x.SNAT, options["--to-source"], options),
    "DNAT": lambda c, options: c.translate(x.DNAT, options["--to-destination"], options),
}
_HANDLERS: dict[str, Callable[[_Compiler], None]] = {
    "-m": _Compiler.module,
    "--comment": _Compiler.comment,
    "--mark": _Compiler.mark,
    "--in-interface": lambda c: c.interface(x.IN_INTERFACE),
    "--out-interface": lambda c: c.interface(x.OUT_INTERFACE),
    "--in-interface-map": lambda c: c.interface_map(x.IN_INTERFACE),
    "--out-interface-map": lambda c: c.interface_map(x.OUT_INTERFACE),
    "--port-mask": _Compiler.port_mask,
    "--port-map": _Compiler.port_map,
    "-p": _Compiler.protocol,
    "--source": lambda c: c.net("src"),
    "--destination": lambda c: c.net("dst"),
    "--source-ports": lambda c: c.ports("src"),
    "--destination-ports": lambda c: c.ports("dst"),
    "--match-set": _Compiler.match_set,
    "--icmp-type": lambda c: c.icmp(1),
    "--icmpv6-type": lambda c: c.icmp(58),
    "--ctstate": _Compiler.conntrack,
    "--src-type": lambda c: c.address_type("src"),
    "--dst-type": lambda c: c.address_type("dst"),
    "--limit-iface-out": _Compiler.limit_interface_out,
    "--jump": lambda c: c.jump(x.JUMP),
    "--goto": lambda c: c.jump(x.GOTO),
}
