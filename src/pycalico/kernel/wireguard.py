"""WireGuard devices: of the kernel, or of the program ``wireguard-go`` where the kernel has none; both by ``wg``.

Keys are base64 as ``wg`` prints them. A private key goes through standard input only and is never kept.
Facts: wg(8); the formats are those of ``wg show NAME dump``.
"""

from __future__ import annotations

import base64
import binascii
import errno
import ipaddress
import logging
import os
import shutil
import socket
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path

import msgspec

from pycalico.kernel import command, rtnetlink

log = logging.getLogger(__name__)

_TOOL = "wg"
_PROGRAM = "wireguard-go"
_TUN = "/dev/net/tun"
#: Names under which the kernel lists such devices: its own, and one that a program serves.
KINDS = frozenset({"wireguard", "tun"})
_PROBE = "wg-probe"
_NONE = "(none)"
_OFF = "off"
_KEY_BYTES = 32
_START_S = 15.0
#: Of peers in one command; a peer's networks are one argument, of which the kernel takes 128 KiB.
_PEERS_MOST = 100


class Peer(msgspec.Struct, frozen=True):
    """``endpoint`` is ADDRESS:PORT, an IPv6 address in brackets; ``allowed`` holds CIDRs; a keep-alive of 0 is none."""

    endpoint: str
    allowed: frozenset[str]
    keepalive_s: int = 0


class SeenPeer(msgspec.Struct, frozen=True):
    """``handshake`` is the time of the last one in seconds since 1970 (0: none yet); the counters are of bytes."""

    peer: Peer
    handshake: int
    received: int
    sent: int


class Device(msgspec.Struct, frozen=True):
    """``public_key`` is empty while the device has no private one; ``mark`` is that of the packets it sends."""

    public_key: str
    port: int
    mark: int
    peers: dict[str, SeenPeer]


def is_key(text: str) -> bool:
    try:
        return len(base64.b64decode(text, validate=True)) == _KEY_BYTES
    except (binascii.Error, ValueError):
        return False


def endpoint(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def lacks() -> str:
    """Why there can be no device here; empty where there can. Makes a link for a moment, which loads the module."""
    if shutil.which(_TOOL) is None:
        return f"{_TOOL} is not installed: install wireguard-tools"
    reason = _kernel_lacks()
    if not reason:
        return ""
    if shutil.which(_PROGRAM) is None:
        return f"the kernel lacks it ({reason}), and {_PROGRAM} is not installed"
    if not Path(_TUN).exists():
        return f"the kernel lacks it ({reason}), and {_PROGRAM} needs {_TUN}"
    return ""


def _kernel_lacks() -> str:
    try:
        rtnetlink.add_link(ifname=_PROBE, kind="wireguard")
    except OSError as error:
        if error.errno != errno.EEXIST:
            return os.strerror(error.errno) if error.errno else str(error)
    rtnetlink.delete_link(socket.if_nametoindex(_PROBE))
    return ""


def make(name: str) -> None:
    """A device that is down and has no key. Raises OSError, CommandError."""
    try:
        rtnetlink.add_link(ifname=name, kind="wireguard")
    except OSError as error:
        if error.errno not in {errno.EOPNOTSUPP, errno.ENODEV}:
            raise
    else:
        return
    log.info("the kernel has no WireGuard: %s serves %s", _PROGRAM, name)
    _start(name)


def _start(name: str) -> None:
    """The program puts itself into the background once its device is there, and ends when the device goes."""
    # With a level for its log it would keep what it inherits, and this process would wait for its end.
    environ = {key: value for key, value in os.environ.items() if key != "LOG_LEVEL"}
    try:
        done = subprocess.run(
            [_PROGRAM, name],
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            timeout=_START_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise command.CommandError(f"{_PROGRAM} did not start within {_START_S:g} s") from None
    except OSError as error:
        raise command.CommandError(f"{_PROGRAM}: {error.strerror}") from None
    if done.returncode:
        reason = command.last_line(done.stdout.decode(errors="replace"))
        raise command.CommandError(f"{_PROGRAM} failed ({done.returncode}): {reason}")


def show(name: str) -> Device:
    """Raises CommandError."""
    return parse(command.check([_TOOL, "show", name, "dump"]).out)


def parse(dump: str) -> Device:
    """Raises CommandError for what is no dump."""
    try:
        first, *others = (line.split("\t") for line in dump.splitlines())
        _, public_key, port, mark = first
        peers = {fields[0]: _peer(fields) for fields in others}
        return Device(
            "" if public_key == _NONE else public_key, int(port), 0 if mark == _OFF else int(mark, 0), peers
        )
    except (ValueError, IndexError):
        # Not what it says: it holds the private key.
        raise command.CommandError(f"{_TOOL} show printed what is no dump") from None


def _peer(fields: list[str]) -> SeenPeer:
    _, _, where, allowed, handshake, received, sent, keepalive = fields
    networks = frozenset() if allowed == _NONE else frozenset(map(_network, allowed.split(",")))
    peer = Peer("" if where == _NONE else where, networks, 0 if keepalive == _OFF else int(keepalive))
    return SeenPeer(peer, int(handshake), int(received), int(sent))


def _network(text: str) -> str:
    return str(ipaddress.ip_network(text)) if ":" in text else text


def set_device(name: str, port: int, mark: int, *, fresh_key: bool) -> None:
    """Raises CommandError."""
    arguments = [_TOOL, "set", name, "listen-port", str(port), "fwmark", hex(mark)]
    if fresh_key:
        private = command.check([_TOOL, "genkey"]).out
        command.check([*arguments, "private-key", "/dev/stdin"], private)
    else:
        command.check(arguments)


def change_peers(name: str, puts: Mapping[str, Peer], removes: Iterable[str]) -> None:
    """Sessions of peers that stay live on. Raises CommandError."""
    changes = [["peer", key, "remove"] for key in removes]
    changes += [_put(key, peer) for key, peer in puts.items()]
    for first in range(0, len(changes), _PEERS_MOST):
        some = changes[first : first + _PEERS_MOST]
        command.check([_TOOL, "set", name, *(word for words in some for word in words)])


def _put(key: str, peer: Peer) -> list[str]:
    return [
        "peer", key,
        "endpoint", peer.endpoint,
        "persistent-keepalive", str(peer.keepalive_s) if peer.keepalive_s else _OFF,
        "allowed-ips", ",".join(sorted(peer.allowed)),
    ]  # fmt: skip
