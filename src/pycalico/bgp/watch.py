"""Live or recorded BGP messages as lines for people, or as JSON, one object a line."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from pycalico.bgp import packets
from pycalico.bgp.sniffer import Sniffer
from pycalico.bgp.streams import Heard, Listener
from pycalico.bgp.wire import Keepalive, Malformed, Message, Notification, Open, RouteRefresh, Update

#: Shown under the announced prefixes; the others are in the JSON form.
_LEFT_OUT = ("reachable", "unreachable")


def from_file(path: Path, ports: frozenset[int]) -> Iterator[Heard]:
    """Raises OSError and BadCapture."""
    listener = Listener(ports)
    for at_s, link, data in packets.read_capture(path.read_bytes()):
        found = packets.segment(data, link)
        if found:
            yield from listener.hear(at_s, found)


def from_interface(interface: str, ports: frozenset[int], seconds: float | None) -> Iterator[Heard]:
    """``interface`` "" is all of them; ``seconds`` None has no end. Raises OSError."""
    until = time.monotonic() + seconds if seconds is not None else float("inf")
    listener = Listener(ports)
    sniffer = Sniffer(interface, sorted(ports))
    try:
        for at_s, data in sniffer.packets(until):
            found = packets.segment(data)
            if found:
                yield from listener.hear(at_s, found)
    finally:
        sniffer.close()


def as_json(heard: Heard) -> str:
    """One line: time, the two ends, type, length, and the message's fields."""
    # To plain values first: frozen sets have no order in JSON.
    fields = msgspec.to_builtins(heard.message, order="deterministic")
    whole = {
        "time": round(heard.at_s, 6),
        "source": {"address": heard.source[0], "port": heard.source[1]},
        "destination": {"address": heard.destination[0], "port": heard.destination[1]},
        "length": heard.length,
        **fields,
    }
    return msgspec.json.encode(whole).decode()


def as_lines(heard: Heard) -> list[str]:
    """A heading, and indented lines for what an OPEN offers and an UPDATE changes."""
    clock = time.strftime("%H:%M:%S", time.localtime(heard.at_s)) + f".{int(heard.at_s % 1 * 1000):03d}"
    heading, more = _TEXTS[type(heard.message)](heard.message)
    kind = heard.message.__struct_config__.tag
    return [
        f"{clock} {heard.source[0]} > {heard.destination[0]} {kind}{heading}",
        *(f"    {line}" for line in more),
    ]


def _open(message: Open) -> tuple[str, list[str]]:
    heading = f" AS {message.as_number}, hold time {message.hold_time_s} s, router id {message.router_id}"
    if message.version != 4:
        heading += f", version {message.version}"
    offers = [f"{item.name}{': ' + item.text if item.text else ''}" for item in message.capabilities]
    return heading, [f"offers {'; '.join(offers)}"] if offers else []


def _update(message: Update) -> tuple[str, list[str]]:
    if message.end_of_rib:
        return f" end of the {message.end_of_rib} routes", []
    told = [
        f"{item.name} {item.text}" if item.text else item.name
        for item in message.attributes
        if item.name not in _LEFT_OUT
    ]
    hops = [item.text for item in message.attributes if item.name == "reachable"]
    counts = [f" {len(found)} {what}" for what, found in
              (("announced", message.announced), ("withdrawn", message.withdrawn)) if found]  # fmt: skip
    more = [f"+ {prefix}" for prefix in message.announced] + [f"- {prefix}" for prefix in message.withdrawn]
    return ",".join(counts), [*more, *(["; ".join(hops + told)] if hops or told else [])]


def _notification(message: Notification) -> tuple[str, list[str]]:
    said = f" ({message.text})" if message.text else ""
    return f" {message.code}/{message.subcode}: {message.meaning}{said}", []


def _refresh(message: RouteRefresh) -> tuple[str, list[str]]:
    return f" {message.family}{' ' + message.kind if message.kind else ''}", []


def _malformed(message: Malformed) -> tuple[str, list[str]]:
    return f" {message.reason}", []


_TEXTS: dict[type[Message], Callable[..., tuple[str, list[str]]]] = {
    Open: _open,
    Update: _update,
    Notification: _notification,
    Keepalive: lambda _: ("", []),
    RouteRefresh: _refresh,
    Malformed: _malformed,
}
