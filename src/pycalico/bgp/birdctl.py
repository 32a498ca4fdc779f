"""BIRD's control socket: ask it something, and read its tables.

The protocol (BIRD 1.6 and 2.0, observed): every line starts with a four digit code and ``-`` (more follows) or a blank
(last line of the answer); a line that starts with a blank carries the code of the one before; ``0001`` greets.
The parse functions take lines as they came, so that they can be tried on recordings. Table forms and messages
are those that ``calicoctl node status``, readiness and CalicoNodeStatus of v3.28.1 know.
"""

from __future__ import annotations

import os
import re
import socket
import time
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import Self

import msgspec

#: By address family: the sockets to try, in order.
SOCKETS: dict[int, tuple[str, ...]] = {
    4: ("/var/run/calico/bird.ctl", "/var/run/bird/bird.ctl"),
    6: ("/var/run/calico/bird6.ctl", "/var/run/bird/bird6.ctl"),
}
READ_TIMEOUT_S = 2.0
#: An answer longer than this is not BIRD's.
_MOST_BYTES = 64 << 20

PEER_TYPES = {"Global": "global", "Node": "node specific", "Mesh": "node-to-node mesh"}
_PEER_NAME = re.compile(r"(Global|Node|Mesh)_(.+)")
_HEADINGS = ["name", "proto", "table", "state", "since", "info"]


class BirdError(Exception):
    """BIRD did not answer, or not as expected; one line."""


class Unreachable(BirdError):
    """No BIRD listens: ``unable to connect to BIRDv4 socket: dial unix ...``."""


class Peer(msgspec.Struct, frozen=True):
    """One BGP session. ``type`` is a value of PEER_TYPES; ``state`` is BIRD's column (``up`` means established).

    ``address`` is made from the protocol's name, so a peer with a port reads ``10.0.0.4.port.166``, as upstream.
    """

    name: str
    address: str
    type: str
    state: str
    since: str
    info: str

    @property
    def established(self) -> bool:
        return self.state == "up"


class Status(msgspec.Struct, frozen=True):
    """``show status``. Times are BIRD's text, local. ``recovering``: graceful restart recovery is in progress."""

    version: str = ""
    router_id: str = ""
    server_time: str = ""
    last_boot: str = ""
    last_reconfiguration: str = ""
    ready: bool = False
    recovering: bool = False


class Route(msgspec.Struct, frozen=True):
    """One path of ``show route``. ``gateway`` and ``interface`` are empty for blackhole and unreachable.

    ``protocol`` is its origin's name (``static1``, ``Mesh_10_0_0_2``), ``peer`` the ``from`` address if shown,
    ``target`` via, dev, blackhole, unreachable or prohibit; ``primary`` marks the path in use.
    """

    destination: str
    target: str
    gateway: str
    interface: str
    protocol: str
    since: str
    peer: str
    primary: bool
    preference: str


class Control:
    """A connection to one BIRD; a context manager. Raises Unreachable and BirdError."""

    def __init__(self, family: int = 4, path: str = "", timeout_s: float = READ_TIMEOUT_S) -> None:
        self._timeout_s = timeout_s
        self._rest = b""
        self._socket = _connect(family, (path,) if path else SOCKETS[family], timeout_s)
        try:
            greeting = self._line()
        except BirdError:
            self.close()
            raise
        #: ``BIRD 1.6.8 ready.``
        self.greeting = greeting[5:]

    def ask(self, command: str) -> list[str]:
        """The lines of the answer, codes and all. ``command`` is one line, such as ``show protocols``."""
        if "\n" in command:
            raise BirdError("a command to BIRD is one line")
        try:
            self._socket.sendall(command.encode() + b"\n")
        except OSError as error:
            raise BirdError(f"cannot write to BIRD: {_reason(error)}") from error
        lines: list[str] = []
        while True:
            line = self._line()
            if line.startswith("+"):  # an asynchronous message of another session
                continue
            lines.append(line)
            if line[:4].isdigit() and line[4:5] in (" ", ""):
                return lines

    def close(self) -> None:
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _line(self) -> str:
        deadline = time.monotonic() + self._timeout_s
        while b"\n" not in self._rest:
            left_s = deadline - time.monotonic()
            if left_s <= 0 or len(self._rest) > _MOST_BYTES:
                raise BirdError("timed out reading from BIRD")
            self._socket.settimeout(left_s)
            try:
                data = self._socket.recv(65536)
            except TimeoutError as error:
                raise BirdError("timed out reading from BIRD") from error
            except OSError as error:
                raise BirdError(f"cannot read from BIRD: {_reason(error)}") from error
            if not data:
                raise BirdError("BIRD closed the connection")
            self._rest += data
        line, _, self._rest = self._rest.partition(b"\n")
        return line.decode(errors="replace")


def ask(family: int, command: str, *, path: str = "", timeout_s: float = READ_TIMEOUT_S) -> list[str]:
    """One question over a connection of its own."""
    with Control(family, path, timeout_s) as control:
        return control.ask(command)


def peers(family: int, *, path: str = "") -> list[Peer]:
    """The BGP sessions of the running BIRD of ``family``. Raises BirdError."""
    return parse_peers(ask(family, "show protocols", path=path), family)


def status(family: int, *, path: str = "") -> Status:
    """Raises BirdError."""
    return parse_status(ask(family, "show status", path=path))


def parse_peers(lines: Iterable[str], family: int) -> list[Peer]:
    """Calico's sessions out of ``show protocols``; other protocols are passed over.

    Raises BirdError: ``unexpected output line from BIRD`` or ``unknown BIRD table output format``.
    """
    found: list[Peer] = []
    capitals = False
    for line in lines:
        if line.startswith("0001"):
            continue
        if line.startswith("2002-"):
            if line[5:].lower().split() != _HEADINGS:
                raise BirdError("unknown BIRD table output format")
            capitals = line[5:6] == "N"
            continue
        if line.startswith("0000"):
            if capitals:
                # BIRD 2, and without a single protocol: not one that confd configures. Upstream knows no other.
                raise BirdError("unknown BIRD table output format")
            break
        capitals = False
        if line.startswith("1002-"):
            row = line[5:]
        elif line.startswith(" "):
            row = line[1:]
        else:
            raise BirdError("unexpected output line from BIRD")
        peer = _peer(row, family)
        if peer:
            found.append(peer)
    return found


def _peer(row: str, family: int) -> Peer | None:
    fields = row.split()
    # A since column with a date and a time would be two fields; the configuration keeps BIRD's short form.
    if len(fields) < 6 or fields[1] != "BGP":
        return None
    named = _PEER_NAME.fullmatch(fields[0])
    if not named:
        return None
    address = named[2].replace("_", "." if family == 4 else ":")
    return Peer(fields[0], address, PEER_TYPES[named[1]], fields[3], fields[4], " ".join(fields[5:]))


def parse_status(lines: Sequence[str]) -> Status:
    """The answer to ``show status``; unknown lines are passed over."""
    found: dict[str, str] = {}
    ready = recovering = False
    for line in lines:
        text = line[5:] if line[:4].isdigit() else line[1:]
        if line.startswith("1000-"):
            found["version"] = text.removeprefix("BIRD ").strip()
        elif line.startswith("0013"):
            ready = True
        elif line.startswith("0024"):
            recovering = True
        for prefix, field in _STATUS_FIELDS:
            if text.startswith(prefix):
                found[field] = text[len(prefix) :].strip()
    return Status(**found, ready=ready, recovering=recovering)


_STATUS_FIELDS = (
    ("Router ID is ", "router_id"),
    ("Current server time is ", "server_time"),
    ("Last reboot on ", "last_boot"),
    ("Last reconfiguration on ", "last_reconfiguration"),
)


def parse_protocol(lines: Iterable[str]) -> dict[str, str]:
    """The ``key: value`` lines of ``show protocols all NAME`` (``BGP state``, ``Neighbor address``, ...)."""
    found: dict[str, str] = {}
    for line in lines:
        text = line[5:] if line[:4].isdigit() else line
        key, colon, value = text.partition(":")
        if colon and value.strip() and key.strip() not in found:
            found[key.strip()] = value.strip()
    return found


#: ``172.16.34.0/24 via 192.168.10.1 on eth0 [Mesh_... 06:01:15 from 192.168.20.100] * (100/?) [i]``
_ROUTE = re.compile(
    r"(?P<destination>\S+)?\s+"
    r"(?:via (?P<gateway>\S+) on (?P<via>\S+)|multipath|unicast|dev (?P<dev>\S+)|(?P<fate>blackhole|unreachable|prohibit))\s+"
    r"\[(?P<protocol>\S+) (?P<since>\d[\d:.-]*(?: [\d:.]+)?)(?: from (?P<peer>[^\]]+))?\](?P<primary> \*)?\s+\((?P<preference>[^)]*)\)"
)


#: BIRD 2 has a path's next hops on lines of their own.
_NEXT_HOP = re.compile(r"\s+(?:via (?P<gateway>\S+) on (?P<via>\S+)|dev (?P<dev>\S+))")


def parse_routes(lines: Iterable[str]) -> list[Route]:
    """The paths of ``show route``; a line without a destination is another path of the one before.

    Of several next hops the first counts. Lines of other forms are passed over.
    """
    found: list[Route] = []
    destination = ""
    for line in lines:
        text = line[5:] if line[:4].isdigit() else line[1:]
        match = _ROUTE.match(text)
        if not match:
            hop = _NEXT_HOP.match(text)
            if hop and found and found[-1].target == "via" and not found[-1].interface:
                found[-1] = msgspec.structs.replace(
                    found[-1],
                    target="dev" if hop["dev"] else "via",
                    gateway=hop["gateway"] or "",
                    interface=hop["via"] or hop["dev"],
                )
            continue
        destination = match["destination"] or destination
        target = match["fate"] or ("dev" if match["dev"] else "via")
        found.append(
            Route(
                destination=destination,
                target=target,
                gateway=match["gateway"] or "",
                interface=match["via"] or match["dev"] or "",
                protocol=match["protocol"],
                since=match["since"],
                peer=match["peer"] or "",
                primary=bool(match["primary"]),
                preference=match["preference"],
            )
        )
    return found


def _connect(family: int, paths: Sequence[str], timeout_s: float) -> socket.socket:
    cause = ""
    for path in paths:
        try:
            connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        except OSError as error:
            raise BirdError(f"no socket to ask BIRDv{family} with: {_reason(error)}") from error
        connection.settimeout(timeout_s)
        try:
            connection.connect(path)
            return connection
        except OSError as error:
            connection.close()
            cause = f"dial unix {path}: connect: {_reason(error)}"
    raise Unreachable(f"unable to connect to BIRDv{family} socket: {cause}")


def _reason(error: OSError) -> str:
    return os.strerror(error.errno).lower() if error.errno else (str(error) or type(error).__name__)
