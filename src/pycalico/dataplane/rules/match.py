"""Fragments of matches, spelled as Felix v3.28.1 spells them (the rules' hashes depend on it)."""

from __future__ import annotations

import re
from collections.abc import Iterable

from pycalico.calc.messages import PortRange

_COMMENT_UNSAFE = re.compile(r"[^A-Za-z0-9_ @%+=:,./-]")
_COMMENT_MOST = 256


def rule(*parts: str) -> str:
    """One rule from its fragments; empty ones drop out. Comments come first, the action last."""
    return " ".join(part for part in parts if part)


def comment(text: str) -> str:
    """A comment; characters that could leave the quotes become underscores."""
    return f'-m comment --comment "{_COMMENT_UNSAFE.sub("_", text)[:_COMMENT_MOST]}"'


def mark_set(bits: int) -> str:
    return f"-m mark --mark {bits:#x}/{bits:#x}"


def mark_clear(bits: int) -> str:
    return f"-m mark --mark 0/{bits:#x}"


def mark_not_clear(bits: int) -> str:
    return f"-m mark ! --mark 0/{bits:#x}"


def mark_equals(value: int, mask: int) -> str:
    return f"-m mark --mark {value:#x}/{mask:#x}"


def mark_differs(value: int, mask: int) -> str:
    return f"-m mark ! --mark {value:#x}/{mask:#x}"


def in_interface(name: str) -> str:
    return f"--in-interface {name}"


def out_interface(name: str) -> str:
    return f"--out-interface {name}"


def _not(negated: bool) -> str:
    return "! " if negated else ""


def protocol(value: str | int | None, negated: bool = False) -> str:
    return "" if value is None else f"{_not(negated)}-p {value}"


def source(net: str, negated: bool = False) -> str:
    return f"{_not(negated)}--source {net}"


def destination(net: str, negated: bool = False) -> str:
    return f"{_not(negated)}--destination {net}"


def net(side: str, cidr: str, negated: bool = False) -> str:
    """``side`` is src or dst."""
    return source(cidr, negated) if side == "src" else destination(cidr, negated)


def nets(side: str, cidrs: Iterable[str], negated: bool = False) -> str:
    """Any of many: native rendering only."""
    return net(side, ",".join(cidrs), negated)


def in_map(side: str, name: str) -> str:
    """The chain that the map ``@name`` has for the interface, if any. ``side`` is in or out; native rendering only."""
    return f"--{side}-interface-map {name}"


def in_port_map(mask: int, name: str) -> str:
    """The chain that the map ``@name`` has for the protocol and the destination port's bits in ``mask``, if any;
    native rendering only.
    """
    return f"--port-mask {mask:#x} --port-map {name}"


def ports(side: str, ranges: Iterable[PortRange], negated: bool = False) -> str:
    """At most 15 slots (a range takes two): see `split_ports`."""
    option = "--source-ports" if side == "src" else "--destination-ports"
    text = ",".join(str(r.first) if r.first == r.last else f"{r.first}:{r.last}" for r in ranges)
    return f"-m multiport {_not(negated)}{option} {text}"


def port(side: str, number: int) -> str:
    return ports(side, (PortRange(number, number),))


def split_ports(ranges: Iterable[PortRange]) -> list[list[PortRange]]:
    """Groups of at most 15 slots, the multiport match's limit; a range takes two slots."""
    groups: list[list[PortRange]] = []
    free = 0
    for item in ranges:
        needed = 1 if item.first == item.last else 2
        if free < needed:
            groups.append([])
            free = 15
        groups[-1].append(item)
        free -= needed
    return groups


def in_set(name: str, side: str, negated: bool = False) -> str:
    """``side``: src, dst, or the pairs ``src,src`` and ``dst,dst`` for address and port."""
    return f"-m set {_not(negated)}--match-set {name} {side}"


def conntrack(states: str, negated: bool = False) -> str:
    return f"-m conntrack {_not(negated)}--ctstate {states}"


def icmp(family: int, type_: int, code: int | None, negated: bool = False) -> str:
    option = "-m icmp {}--icmp-type {}" if family == 4 else "-m icmp6 {}--icmpv6-type {}"
    return option.format(_not(negated), type_ if code is None else f"{type_}/{code}")


def local_address(side: str) -> str:
    return f"-m addrtype --{side}-type LOCAL"


#: The source is not an address of the interface that the packet leaves by.
SOURCE_NOT_OF_OUT_INTERFACE = "-m addrtype ! --src-type LOCAL --limit-iface-out"
REVERSE_PATH_FAILS = "-m rpfilter --invert --validmark"
ESTABLISHED = conntrack("RELATED,ESTABLISHED")
#: Without a connection; native rendering only.
UNCONNECTED = conntrack("INVALID,UNTRACKED")
