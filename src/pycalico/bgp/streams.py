"""BGP sessions out of TCP segments: put in order, cut into messages, decoded with what the OPENs agreed on. Pure."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from pycalico.bgp import wire
from pycalico.bgp.packets import Segment
from pycalico.bgp.wire import Malformed, Message, Open

#: Segments that wait for a lost one; beyond it the gap is taken for a hole in the capture.
_MOST_WAITING = 256
_MOST_BYTES = 1 << 20
_HALF = 1 << 31
_ALL = 1 << 32
#: Connections remembered; the one unheard of for longest goes first.
_MOST_STREAMS = 4096

End = tuple[str, int]


class Heard(msgspec.Struct, frozen=True):
    """``at_s``: of the packet that completed the message."""

    at_s: float
    source: End
    destination: End
    message: Message
    length: int


class _Stream:
    """One direction of one connection."""

    def __init__(self) -> None:
        self.next: int | None = None
        self.waiting: dict[int, bytes] = {}
        self.bytes = b""
        self.opened: Open | None = None
        #: Bytes were missing, or we came in the middle: the next marker is where a message begins.
        self.lost = True

    def start(self, sequence: int) -> None:
        self.__init__()  # type: ignore[misc]
        self.next = (sequence + 1) % _ALL
        self.lost = False

    def add(self, sequence: int, payload: bytes) -> None:
        if self.next is None:
            self.next = sequence
        self.waiting[sequence] = max(payload, self.waiting.get(sequence, b""), key=len)
        while self._drain():
            pass
        if len(self.waiting) > _MOST_WAITING or sum(map(len, self.waiting.values())) > _MOST_BYTES:
            # What is missing was never captured: go on with what follows.
            self.next = min(self.waiting, key=lambda number: (number - self.next) % _ALL)  # type: ignore[operator]
            self.lost, self.bytes = True, b""
            while self._drain():
                pass

    def _drain(self) -> bool:
        expected = self.next or 0
        for sequence, payload in self.waiting.items():
            known = (expected - sequence) % _ALL
            if known < _HALF:
                del self.waiting[sequence]
                fresh = payload[known:]
                self.bytes += fresh
                self.next = (expected + len(fresh)) % _ALL
                return True
        return False

    def messages(self) -> Iterator[bytes]:
        """Whole messages; what precedes a marker is passed over when the beginning is not known."""
        while True:
            if self.lost:
                found = self.bytes.find(wire.MARKER)
                if found < 0:
                    self.bytes = self.bytes[-15:]
                    return
                self.bytes = self.bytes[found:]
            if len(self.bytes) < wire.HEADER:
                return
            length = int.from_bytes(self.bytes[16:18], "big")
            longest = (
                wire.LONGEST_EXTENDED if not self.opened or self.opened.extended_messages else wire.LONGEST
            )
            if self.bytes[:16] != wire.MARKER or not wire.HEADER <= length <= longest:
                # After the marker: a run of ones would be found again and again.
                self.lost, self.bytes = True, self.bytes[16:]
                yield b""
                continue
            if len(self.bytes) < length:
                return
            message, self.bytes = self.bytes[:length], self.bytes[length:]
            self.lost = False
            yield message


class Listener:
    """Of any number of connections. Ports other than ``ports`` are not BGP."""

    def __init__(self, ports: frozenset[int] = frozenset({179})) -> None:
        self._ports = ports
        self._streams: dict[tuple[End, End], _Stream] = {}

    def hear(self, at_s: float, found: Segment) -> Iterator[Heard]:
        """The messages that this segment completes."""
        if not {found.source[1], found.destination[1]} & self._ports:
            return
        key = (found.source, found.destination)
        stream = self._streams.pop(key, None) or _Stream()
        self._streams[key] = stream
        if len(self._streams) > _MOST_STREAMS:
            del self._streams[next(iter(self._streams))]
        if found.syn:
            stream.start(found.sequence)
        if found.payload:
            stream.add((found.sequence + found.syn) % _ALL, found.payload)
        for raw in stream.messages():
            yield Heard(at_s, *key, self._decoded(key, stream, raw), len(raw))
        if found.ends and not stream.waiting:
            self._streams.pop(key, None)

    def _decoded(self, key: tuple[End, End], stream: _Stream, raw: bytes) -> Message:
        if not raw:
            return Malformed("no BGP message begins here: passed over to the next one")
        other = self._streams.get((key[1], key[0]))
        message = wire.decode(raw, wire.agreed(stream.opened, other.opened if other else None))
        if isinstance(message, Open):
            stream.opened = message
        return message
